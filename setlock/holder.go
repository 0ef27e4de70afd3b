package setlock

import (
	"context"
	"strconv"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
)

// A Holder is who holds a lock. The zero Holder is nobody.
type Holder struct {
	// Owner is the Owner of the holding Lock. If a foreign program has set the
	// key, it is the value that it has set, which may be empty.
	Owner string

	// Fence is the fencing token of the hold; 0 if a foreign program holds the
	// key.
	Fence int64

	// Remaining is how long the key lived on, unless it was renewed, when this
	// was seen: at least a millisecond; negative for a key without expiry.
	Remaining time.Duration
}

// Nobody reports whether nobody holds the lock.
func (h Holder) Nobody() bool { return h == Holder{} }

// Holder asks Redis who holds the lock now: the zero Holder is nobody. It blocks
// until Redis has answered or ctx has ended.
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

// An observation is what a look at the lock, or an announcement, has told of it.
type observation struct {
	holder Holder
	value  string    // of the lock key
	fence  string    // as it is in the fence key
	until  time.Time // when the key expires, or later; meaningless for nobody and without expiry
}

// observe looks at the lock.
func (r remote) observe(ctx context.Context) (observation, error) {
	sight, err := r.look(ctx)
	switch {
	case err != nil:
		return observation{}, err
	case !sight.Held:
		return observation{fence: sight.Fence}, nil
	}
	return newObservation(sight.Value, sight.Fence, sight.Remaining, clock.FromContext(ctx).Now()), nil
}

// newObservation returns the observation of a holder whose key lived on for remaining at
// some time before now.
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

// same reports whether o and other are of the same hold, or both of nobody.
func (o observation) same(other observation) bool {
	return o.value == other.value && o.holder.Fence == other.holder.Fence && o.holder.Nobody() == other.holder.Nobody()
}

// follows returns the observation after an announcement that came at now. It returns false
// if the announcement does not continue o.
func (o observation) follows(a protocol.Announcement, now time.Time) (observation, bool) {
	switch {
	case a.Acquired && a.Value == o.value && a.Fence == o.holder.Fence:
		return o, true // a look was quicker
	case a.Acquired && a.Previous == o.fence && o.fence != "":
		return newObservation(a.Value, strconv.FormatInt(a.Fence, 10), a.Lease, now), true
	case !a.Acquired && a.Value == o.value && o.holder.Fence != 0:
		return observation{fence: o.fence}, true
	}
	return o, false
}
