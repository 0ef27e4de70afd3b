package history_test

import (
	"fmt"
	"time"
)

// How a key is held.
type holding int

const (
	free   holding = iota
	held           // by a client that knows
	kept           // by a Do, which renews it unseen
	orphan         // by a client that does not know, or has lost sight: it is undone at some time
)

// A state is all that is known of the lock at a point of the linearization.
type state struct {
	holding holding
	client  int
	hold    int
	fence   int64         // of the hold; 0: nobody has seen it
	last    int64         // every fence from here on is greater, or that of the hold
	lease   time.Duration // of a Do
	zone    zone
}

func (s state) String() string {
	if s.holding == free {
		return fmt.Sprintf("free, last fence %d", s.last)
	}
	return fmt.Sprintf("%s by c%d, #%d, fence %d, expires in %v to %v", [...]string{"", "held", "kept", "orphaned"}[s.holding],
		s.client, s.hold, s.fence, time.Duration(s.zone.dLo), time.Duration(s.zone.dHi))
}

// A slack is how much later than a lease a key may expire, for a script takes time
// and a server counts whole milliseconds: 0 in virtual time.
type slack time.Duration

// within reports whether whole allows all that s allows.
func (s state) within(whole state) bool {
	if s.last < whole.last || !s.zone.within(whole.zone) {
		return false
	}
	s.last, s.zone = whole.last, whole.zone
	return s == whole
}

// step returns what s may become by o. The zones of some may be empty.
func (s state) step(o op, tolerance slack) []state {
	slack := int64(tolerance)
	if s.holding == kept {
		s.zone = s.zone.renewed(int64(s.lease), int64(s.lease)+slack, o.call, o.ret)
	} else {
		s.zone = s.zone.elapse(o.call, o.ret)
	}

	// Either the hold is alive, or it was not, or has expired.
	alive, gone := s, s
	own, known := false, false
	if s.holding == free {
		alive.zone = never
		s = s.released()
	} else {
		alive.zone = s.zone.left(1, forever)
		gone.zone = s.zone.left(-forever, 0)
		own = s.client == o.client
		known = own && s.holding != orphan
	}
	gone = gone.released()
	exactly := known && s.hold == o.hold
	// No client is told how much is left of what it may undo at any time.
	tell := func(s state) state {
		if o.left < 0 && s.holding != orphan {
			s.zone = s.zone.left(ages/2, forever)
		} else if o.left != 0 && s.holding != orphan {
			least := int64(o.left)
			if o.left == time.Millisecond {
				least = 0 // a millisecond is also less than that
			}
			s.zone = s.zone.left(least, int64(o.left+time.Millisecond))
		}
		return s
	}

	var next []state
	add := func(s state) { next = append(next, s) }
	switch o.action {
	case acquire:
		took := gone
		if s.holding == orphan && own {
			took = s.released() // adopted, or undone before
		}
		took.client, took.hold, took.holding, took.lease = o.client, o.hold, held, o.d
		if o.kept {
			took.holding = kept
		}
		took.zone = took.zone.expireIn(int64(o.d), int64(o.d)+slack)
		switch o.outcome {
		case done:
			if took, ok := took.fenced(o.fence); ok {
				add(took)
			}
		case unknown:
			add(s)
			took.holding = orphan
			took, _ = took.fenced(0)
			took.zone = took.zone.expireIn(0, int64(o.d)+slack)
			add(took)
		case mine:
			if exactly {
				add(tell(alive))
			}
		case other:
			if !own {
				add(tell(alive))
			}
		}
	case renew, extend:
		d := int64(o.d)
		set, bare := alive, alive
		bare.zone = never
		if o.action == renew {
			if s.holding == kept {
				d = max(d, int64(s.lease))
			}
			set.zone = set.zone.expireIn(d, d+slack)
		} else {
			// A key without expiry gets one again, which is not earlier.
			bare.zone = alive.zone.left(ages/2, forever)
			if !bare.zone.empty() {
				bare.zone = bare.zone.expireIn(d-int64(time.Millisecond), ages/4)
			}
			set.zone = set.zone.left(-forever, ages/2).extend(d-int64(time.Millisecond), d+slack)
		}
		switch o.outcome {
		case done:
			if exactly {
				add(set)
				add(bare)
			}
		case unknown:
			add(s)
			if exactly {
				add(set)
				add(bare)
			}
		case notHeld:
			add(gone)
			if !known {
				add(alive)
			}
		}
	case release:
		switch o.outcome {
		case done:
			if exactly || own && s.holding == orphan {
				add(alive.released())
			}
		case unknown:
			add(s)
			if exactly {
				add(alive.released())
			}
		case notHeld:
			add(gone)
			if !own {
				add(alive)
			}
		}
	case look:
		switch {
		case o.outcome == nobody:
			add(gone)
		case s.holding != free && s.client == o.owner:
			if s, ok := alive.seen(o.fence); ok {
				add(tell(s))
			}
		}
	case believe:
		if exactly {
			if s, ok := alive.seen(o.fence); ok {
				if o.kept && s.holding == kept {
					s.zone = s.zone.left(int64(s.lease/10)-slack, forever)
				}
				add(s)
			}
		}
	case finish:
		switch {
		case s.holding == free || s.client != o.client || s.hold != o.hold:
			add(s)
		case o.outcome == done:
			add(s.released())
		default:
			add(s.released())
			s.holding = orphan
			s.zone = s.zone.expireIn(0, forever)
			add(s)
		}
	case remove:
		add(s.released())
	case persist:
		add(gone)
		if !alive.zone.empty() {
			least := ages
			if s.holding == orphan {
				least = 0 // for it is undone at some time
			}
			alive.zone = alive.zone.expireIn(least, ages)
		}
		add(alive)
	}
	return next
}

// later lets any time pass, as step does first. States that allow the same become equal.
func (s state) later(tolerance slack) state {
	switch s.holding {
	case free:
		s.zone = s.zone.later().expireIn(0, 0)
	case kept:
		s.zone = s.zone.renewed(int64(s.lease), int64(s.lease)+int64(tolerance), s.zone.tLo, forever)
	default:
		s.zone = s.zone.later()
	}
	return s
}

// released returns s without its holder.
func (s state) released() state {
	return state{last: s.last, zone: s.zone.expireIn(0, 0)}
}

// fenced returns s with the fence of a new hold, 0 for one that nobody has seen;
// false if it is not greater than those before.
func (s state) fenced(fence int64) (state, bool) {
	if fence != 0 && fence <= s.last {
		return s, false
	}
	s.fence, s.last = fence, max(fence, s.last+1)
	return s, true
}

// seen returns s after somebody has seen the fence of its hold, or 0 for has not;
// false if it cannot be that.
func (s state) seen(fence int64) (state, bool) {
	switch {
	case fence == 0 || fence == s.fence:
		return s, true
	case s.fence != 0 || fence < s.last:
		return s, false
	}
	s.fence, s.last = fence, fence
	return s, true
}

// registered is what a register knows that takes no write with a fence smaller
// than the greatest it has seen.
type registered struct {
	fence int64
	value int
}

func (r registered) step(o op) []any {
	written := registered{o.fence, o.value}
	switch {
	case o.action == read && o.outcome == done && r == written,
		o.action == write && o.outcome == refused && o.fence < r.fence:
		return []any{r}
	case o.action == write && o.outcome == done && o.fence >= r.fence:
		return []any{written}
	case o.action == write && o.outcome == unknown && o.fence >= r.fence:
		return []any{r, written}
	case o.action == write && o.outcome == unknown:
		return []any{r}
	}
	return nil
}
