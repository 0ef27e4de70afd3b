package setlock

import (
	"context"
	"strconv"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
)

// A Holder describes who holds a lock. The zero Holder means nobody.
type Holder struct {
	// Owner is the Owner of the Lock that holds the key. If another program has set the
	// key, Owner is the value that it has set, which may be empty.
	Owner string

	// Fence is the fencing token of the hold. It is 0 if another program has set the key.
	Fence int64

	// Remaining is the remaining time of the key when this Holder was seen: at least a
	// millisecond, or negative for a key without expiry. The key lives longer if it has
	// been renewed since.
	Remaining time.Duration
}

// Nobody reports whether h is the zero Holder.
func (h Holder) Nobody() bool { return h == Holder{} }

// Holder asks Redis who holds the lock now. The zero Holder means that nobody does. Holder
// blocks until Redis has answered or ctx has ended.
func (l *Lock) Holder(ctx context.Context) (Holder, error) {
	const op = "holder"
	if err := l.check(op); err != nil {
		return Holder{}, err
	}
	o, err := l.remote().observe(ctx)
	if err != nil {
		return Holder{}, l.fail(op, err)
	}
	return o.holder, nil
}

// An observation is what a look at the key found, or what an announcement reported.
type observation struct {
	holder Holder
	value  string    // of the lock key
	fence  string    // the content of the fence key
	until  time.Time // when the key expires, or later; not set for nobody, useless without expiry
}

// observe looks at the lock and returns what it found.
func (r *remote) observe(ctx context.Context) (observation, error) {
	found, err := r.look(ctx)
	switch {
	case err != nil:
		return observation{}, err
	case !found.Held:
		return observation{fence: found.Fence}, nil
	}
	return newObservation(found.Value, found.Fence, found.Remaining, clock.FromContext(ctx).Now()), nil
}

// newObservation returns the observation of a holder whose key had the remaining time
// remaining at some moment before now.
func newObservation(value, fence string, remaining time.Duration, now time.Time) observation {
	owner, ours := protocol.OwnerOf(value)
	o := observation{
		holder: Holder{Owner: owner, Remaining: remaining},
		value:  value,
		fence:  fence,
		until:  now.Add(remaining),
	}
	if ours {
		o.holder.Fence = protocol.ParseFence(fence)
	}
	return o
}

// same reports whether o and other show the same hold, or both show nobody.
func (o observation) same(other observation) bool {
	return o.value == other.value && o.holder.Fence == other.holder.Fence && o.holder.Nobody() == other.holder.Nobody()
}

// follows returns the observation after an announcement that came at now. It returns o and
// false if the announcement does not continue o.
func (o observation) follows(a protocol.Announcement, now time.Time) (observation, bool) {
	switch {
	case a.Acquired && a.Value == o.value && a.Fence == o.holder.Fence:
		return o, true // a look has found this acquisition already
	case a.Acquired && a.Previous == o.fence && o.fence != "":
		return newObservation(a.Value, strconv.FormatInt(a.Fence, 10), a.Lease, now), true
	case !a.Acquired && a.Value == o.value && o.holder.Fence != 0:
		return observation{fence: o.fence}, true
	}
	return o, false
}
