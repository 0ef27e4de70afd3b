package history_test

import (
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

// lockModel is a lock with leases and fencing tokens, and the register. A state of the
// model is a belief: all that may be true after the operations so far.
func lockModel(tolerance slack) porcupine.Model {
	return porcupine.Model{
		Partition: partition,
		Init:      func() any { return belief{state{}, registered{}} },
		Step: func(b, input, _ any) (bool, any) {
			next := b.(belief).step(input.(op), tolerance)
			return len(next) > 0, next
		},
		// porcupine calls Equal with a new belief and an old one, after the same operations.
		// The search from the old belief has failed, so a search from a part of it fails,
		// too. A mistake here makes the checker refuse a legal history. It cannot make the
		// checker accept an illegal one.
		Equal:             func(b, searched any) bool { return b.(belief).within(searched.(belief)) },
		DescribeOperation: func(input, _ any) string { return input.(op).String() },
		DescribeState:     func(b any) string { return fmt.Sprint(b) },
	}
}

// partition parts the lock from the register: each is linearizable, or both are not.
func partition(history []porcupine.Operation) [][]porcupine.Operation {
	parts := make([][]porcupine.Operation, 2)
	for _, o := range history {
		i := 0
		if o.Input.(op).action > register {
			i = 1
		}
		parts[i] = append(parts[i], o)
	}
	return parts
}

// A belief is a set of what may be true: states of the lock, or registered.
type belief []any

func (b belief) step(o op, tolerance slack) belief {
	var next belief
	for _, s := range b {
		switch s := s.(type) {
		case state:
			if o.action >= register {
				continue
			}
			for _, s := range s.step(o, tolerance) {
				if s = s.later(tolerance); !s.zone.empty() {
					next = next.add(s)
				}
			}
		case registered:
			if o.action > register {
				for _, r := range s.step(o) {
					next = next.add(r)
				}
			}
		}
	}
	return next
}

// add returns b with s, and without what s says, too.
func (b belief) add(s any) belief {
	if b.says(s) {
		return b
	}
	b = slices.DeleteFunc(b, func(old any) bool { return belief{s}.says(old) })
	return append(b, s)
}

// says reports whether b allows all that s allows.
func (b belief) says(s any) bool {
	return slices.ContainsFunc(b, func(whole any) bool {
		if s, ok := s.(state); ok {
			whole, ok := whole.(state)
			return ok && s.within(whole)
		}
		return s == whole
	})
}

// within reports whether whole allows all that b allows.
func (b belief) within(whole belief) bool {
	return !slices.ContainsFunc(b, func(s any) bool { return !whole.says(s) })
}
