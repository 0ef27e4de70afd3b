package setlock

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
)

// A Lock is a lock on a key in Redis. A literal with Key and Pool is ready to
// use:
//
//	l := &setlock.Lock{Key: "nightly-report", Pool: pool}
//
// Two Locks with the same Key on the same Redis exclude each other, in one
// process or in many. A Lock is safe for concurrent use and belongs to whoever
// calls it: goroutines that share one share its hold. The fields must not be
// changed after the first call; a Lock must not be copied after it.
//
// Errors other than [ErrAlreadyHeld] and [ErrNotHeld] name the operation and the
// key and wrap their cause. When ctx has ended, a call sends nothing to Redis and
// returns an error that wraps [context.Cause] of ctx. If that cause is the loss of another
// lock, the error has its text, wraps [context.Canceled], and is not [ErrLost].
// Unlock of a Lock that is not held returns ErrNotHeld even then. Without a deadline in
// ctx, a call waits as long as the Pool's connections do.
//
// A Lock remembers up to 64 of its acquisitions whose outcome is unknown, each for
// as long as its key can exist. Its next acquisition adopts them, its next Unlock
// releases them. Beyond 64, the one whose key expires first is forgotten: it
// blocks this Lock as any other holder does, until its key expires.
type Lock struct {
	// Key is the Redis key of the lock, a string that exists while somebody
	// holds it. Required. The fencing tokens stand in a second key:
	// "{Key}:fence", or "Key:fence" where Key has a Cluster hash tag. So "k" and
	// "{k}" must not both be used.
	Key string

	// Pool gives the connections. Required. Its Dial should have timeouts, or
	// better be a DialContext. Connections that do not implement
	// [redis.ConnWithContext], as redigo's own do, cannot be interrupted: a helper may be
	// left in one until it answers. All connections must use the same database: one that was
	// left in another by SELECT sees other locks, and two may hold this one.
	//
	// A panic in Dial or TestOnBorrow ends the process, as any panic that nobody
	// recovers: calls whose ctx can end run on a helper goroutine. A Dial that
	// returns neither a connection nor an error is an error of the call.
	//
	// A connection that answers READONLY, MOVED, MASTERDOWN, CLUSTERDOWN or LOADING is not
	// given back to the Pool, so that a Dial which looks for the primary finds it.
	Pool *redis.Pool

	// Owner says, to people and to [Lock.Holder], who holds the lock. It does
	// not make the lock this Lock's: two may have the same. Default: host:pid.
	Owner string

	// Lease is what Do holds the key for between renewals: how long others wait
	// when the holder dies. Default: [DefaultLease]; [MinLease] to [MaxLease].
	Lease time.Duration

	// Replicas is how many replicas must confirm an acquisition or a renewal
	// (https://redis.io/docs/latest/commands/wait/) before it counts. Default: 0,
	// none. On an acquisition fewer are an error, and it is undone. A call waits for them
	// for up to a twelfth of Lease, also when its ctx never ends. The read timeout of the
	// Pool's connections should be longer than that: with a shorter one, the error of a
	// shortfall is that of a timeout. An acquisition is announced when it is confirmed.
	//
	// A failover makes no second holder where Replicas is the number of replicas and the
	// clocks of the servers agree to within a tenth of Lease; with fewer Replicas, one
	// that had not confirmed may be promoted while others go on to confirm.
	Replicas int

	holds holds
	turn  turn // of calls that acquire the lock or set its time
	once  sync.Once
	keys  *protocol.Keys // set by once
}

// acquire makes one attempt to acquire the lock for d, as w's hold unless w is nil. It
// returns the hold, or as Lock does.
func (l *Lock) acquire(ctx context.Context, op string, d time.Duration, w work) (*hold, time.Duration, error) {
	if err := l.check(op); err != nil {
		return nil, 0, err
	}
	if err := l.turn.take(ctx); err != nil {
		return nil, 0, l.fail(op, err)
	}
	defer l.turn.end()

	d = redisTime(d)
	c := clock.FromContext(ctx)
	now := c.Now()
	h := &hold{value: protocol.NewValue(cmp.Or(l.Owner, protocol.DefaultOwner())), clock: c, work: w, belief: acquiring(now, d)}
	mine, orphans := l.holds.attempt(now, h)
	defer l.holds.returned(h)
	a, r := l.remote().acquire(ctx, h, d, mine, orphans)
	if r.Err != nil {
		l.holds.failed(h, r.Fate, l.Replicas)
		return nil, 0, l.fail(op, r.Err)
	}
	h.fence, h.acquired, h.belief.trust.sent = a.Fence, r.Sent, r.Sent
	lost := l.holds.concluded(h, a.Outcome)
	switch a.Outcome {
	case protocol.Acquired:
		if lost != nil {
			lost.lose(errReplaced)
		}
		return h, 0, nil
	case protocol.Mine:
		return nil, a.Remaining, ErrAlreadyHeld
	}
	if lost != nil {
		lost.lose(errTaken)
	}
	return nil, a.Remaining, ErrNotHeld
}

// check returns an error if the fields of l do not make a lock.
func (l *Lock) check(op string) error {
	var wrong invalidError
	switch {
	case l.Key == "":
		wrong = "no Key"
	case l.Pool == nil:
		wrong = "no Pool"
	case l.Pool.Dial == nil && l.Pool.DialContext == nil:
		wrong = "a Pool without Dial or DialContext"
	case l.Lease < 0 || l.Lease > 0 && l.Lease < MinLease || l.Lease > MaxLease:
		wrong = invalidError(fmt.Sprintf("Lease %v is not 0 (for %v) or %v to %v", l.Lease, DefaultLease, MinLease, MaxLease))
	case l.Replicas < 0:
		wrong = invalidError(fmt.Sprintf("Replicas %d is negative", l.Replicas))
	default:
		return nil
	}
	return l.fail(op, wrong)
}

// fail returns the error of a call that failed because of err.
func (l *Lock) fail(op string, err error) error { return failure(op, l.remote().keys, err) }

// remote returns the lock as Redis has it.
func (l *Lock) remote() remote {
	l.once.Do(func() { l.keys = protocol.NewKeys(l.Key) })
	return remote{pool: l.Pool, keys: l.keys, lease: l.lease(), replicas: l.Replicas}
}

func (l *Lock) lease() lease { return lease(cmp.Or(l.Lease, DefaultLease)) }
