package setlock

import (
	"slices"
	"time"
)

const (
	// maxOrphans is the largest number of orphans that a Lock remembers.
	maxOrphans = 64
	// lateFor is how late a request whose outcome is unknown may reach Redis. The key of
	// such an acquisition may exist for this time longer than the acquisition asked for.
	lateFor = time.Minute
)

// An orphan is an acquisition whose outcome is unknown: either its reply never came, or its
// release or its undo may not have reached every server that may have the key.
type orphan struct {
	value string
	until time.Time // when the key can no longer exist
}

// orphans are what a Lock remembers of its acquisitions whose outcome is unknown. The next
// acquisition of the Lock adopts them, and its next Unlock releases them.
type orphans []orphan

// add returns o with x added. When o is full, add removes the orphan that expires first.
func (o orphans) add(x orphan) orphans {
	if len(o) >= maxOrphans {
		first := slices.MinFunc(o, func(a, b orphan) int { return a.until.Compare(b.until) })
		o = o.remove(first.value)
	}
	return append(o, x)
}

// remove returns o without the orphan that has value.
func (o orphans) remove(value string) orphans {
	return slices.DeleteFunc(o, func(x orphan) bool { return x.value == value })
}

// expire returns o without the orphans whose keys cannot exist any more at now.
func (o orphans) expire(now time.Time) orphans {
	return slices.DeleteFunc(o, func(x orphan) bool { return now.After(x.until) })
}

// values returns the values that the next acquisition may adopt and the next Unlock may
// release.
func (o orphans) values() []string {
	var values []string
	for _, x := range o {
		values = append(values, x.value)
	}
	return values
}
