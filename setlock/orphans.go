package setlock

import (
	"slices"
	"time"
)

const (
	// maxOrphans bounds how many orphans a Lock remembers.
	maxOrphans = 64
	// lateFor is how late a request whose outcome is unknown may reach the
	// server. An acquisition may exist for so much longer than its lease.
	lateFor = time.Minute
)

// An orphan is an acquisition whose outcome is unknown: its reply never came, or
// its release or its undo is not known to have reached every server that may
// have the key.
type orphan struct {
	value   string
	until   time.Time // when the key can no longer exist
	running bool      // the call has not returned: its value is nobody else's to release
}

// orphans are what a Lock remembers of its own acquisitions, so that its next
// acquisition can adopt them and its next Unlock can release them.
type orphans []orphan

// add returns o with an orphan more. Beyond maxOrphans the one that expires first is
// forgotten.
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

// returned notes that the call of the acquisition of value has returned, and that
// its outcome is still unknown.
func (o orphans) returned(value string) {
	for i := range o {
		if o[i].value == value {
			o[i].running = false
		}
	}
}

// expire returns o without those whose keys can no longer exist at now.
func (o orphans) expire(now time.Time) orphans {
	return slices.DeleteFunc(o, func(x orphan) bool { return !x.running && now.After(x.until) })
}

// values returns the values that the next acquisition may adopt.
func (o orphans) values() []string {
	var values []string
	for _, x := range o {
		if !x.running {
			values = append(values, x.value)
		}
	}
	return values
}
