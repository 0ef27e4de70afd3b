package setlock

import (
	"context"
	"fmt"
	"time"

	"example.com/setlock/internal/clock"
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
	s, err := l.look(ctx)
	if err != nil {
		return Holder{}, l.fail(op, err)
	}
	return s.holder, nil
}

// A sighting is what is known of a lock.
type sighting struct {
	holder Holder
	value  string    // of the lock key
	fence  string    // as it stands in the fence key
	until  time.Time // when the key expires, or later; meaningless for nobody and without expiry
}

func (l *Lock) look(ctx context.Context) (sighting, error) {
	n := l.redisNames()
	r := holderScript.with(n.key, n.fence).do(ctx, l.Pool)
	if r.err != nil {
		return sighting{}, r.err
	}
	return holderReply(r.reply, clock.FromContext(ctx).Now())
}

// holderReply reads the reply of holder.lua, received at now.
func holderReply(reply any, now time.Time) (sighting, error) {
	values, _ := reply.([]any)
	if len(values) == 3 {
		pttl, ok1 := values[0].(int64)
		fence, ok2 := values[1].([]byte)
		value, ok3 := values[2].([]byte)
		if ok1 && ok2 && ok3 {
			if pttl == pttlNoKey {
				return sighting{fence: string(fence)}, nil
			}
			return newSighting(string(value), string(fence), remainingTime(pttl), now), nil
		}
	}
	return sighting{}, fmt.Errorf("%w %.100q", errReply, fmt.Sprint(reply))
}

// newSighting is the sighting of a holder whose key lived on for remaining at
// some time before now.
func newSighting(value, fence string, remaining time.Duration, now time.Time) sighting {
	owner, ours := ownerOf(value)
	s := sighting{
		holder: Holder{Owner: owner, Remaining: remaining},
		value:  value,
		fence:  fence,
		until:  now.Add(remaining),
	}
	if ours {
		s.holder.Fence = parseFence(fence)
	}
	return s
}

// same reports whether s and other tell of the same hold, or both of nobody.
func (s sighting) same(other sighting) bool {
	return s.value == other.value && s.holder.Fence == other.holder.Fence && s.holder.Nobody() == other.holder.Nobody()
}

// follows returns the sighting after an announcement that came at now; false
// if it does not continue s.
func (s sighting) follows(a announcement, now time.Time) (sighting, bool) {
	switch {
	case a.acquired && a.value == s.value && a.fence == s.holder.Fence:
		return s, true // a look was quicker
	case a.acquired && a.previous == s.fence && s.fence != "":
		return newSighting(a.value, fmt.Sprint(a.fence), a.lease, now), true
	case !a.acquired && a.value == s.value && s.holder.Fence != 0:
		return sighting{fence: s.fence}, true
	}
	return s, false
}
