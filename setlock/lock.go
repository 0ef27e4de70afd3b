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
	"example.com/setlock/internal/wire"
)

// A Lock is a lock on a key in Redis. A literal with Key and Pool is ready to use:
//
//	l := &setlock.Lock{Key: "nightly-report", Pool: pool}
//
// Two Locks with the same Key on the same Redis exclude each other, in one process or in
// many. A Lock is safe for concurrent use. Goroutines that share a Lock share its hold:
// each goroutine may extend or release the hold. The fields must not be changed after the
// first call. A Lock must not be copied after the first call.
//
// Errors other than [ErrAlreadyHeld] and [ErrNotHeld] name the operation and the key, and
// wrap their cause. When ctx has ended, a call sends nothing to Redis and returns an error
// that wraps [context.Cause] of ctx. If this cause is the loss of another lock, the error
// has the text of the cause, wraps [context.Canceled], and is not [ErrLost]. Unlock of a
// Lock that is not held returns ErrNotHeld even when ctx has ended. Without a deadline in
// ctx, a call waits as long as the Pool's connections do.
//
// A Lock remembers up to 64 of its acquisitions whose outcome is unknown, each for as long
// as its key can exist. The next acquisition of the Lock adopts them, and the next Unlock
// releases them. Beyond 64, the Lock forgets the acquisition whose key expires first. If
// such a key exists, it blocks this Lock as any other holder does, until the key expires.
type Lock struct {
	// Key is the Redis key of the lock. The key is a string that exists while the lock is
	// held. Required. A second key has the fencing tokens: "{Key}:fence", or "Key:fence"
	// where Key has a Cluster hash tag. So "k" and "{k}" must not both be used.
	Key string

	// Pool provides the connections. Required. Its Dial should have timeouts; a DialContext
	// is better. A connection that does not implement [redis.ConnWithContext] cannot be
	// interrupted: a helper goroutine may remain in the connection until Redis answers. The
	// connections of redigo implement it. All connections must use the same database. A
	// connection that was left in another database by SELECT sees other locks, and then two
	// Locks may hold this key at the same time.
	//
	// A call whose ctx can end runs on a helper goroutine. Renewals of Do are sent by one
	// goroutine while another one receives their replies, as redigo allows. A panic in Dial
	// or TestOnBorrow then ends the process, as any panic does that nobody recovers. A Dial
	// that returns neither a connection nor an error is an error of the call.
	//
	// A connection that answers READONLY, MOVED, MASTERDOWN, CLUSTERDOWN or LOADING is not
	// given back to the Pool. So a Dial that looks for the primary finds the new primary.
	Pool *redis.Pool

	// Owner names the holder of the lock for people and for [Lock.Holder]. It does not
	// decide whose the lock is: two Locks may have the same Owner. Default: host:pid.
	Owner string

	// Lease is how long the key of a Do lives without a renewal. When the holder dies, others
	// wait for at most this time. Default: [DefaultLease]. Range: [MinLease] to
	// [MaxLease].
	Lease time.Duration

	// Replicas is the number of replicas that must confirm an acquisition or a renewal
	// before it counts (https://redis.io/docs/latest/commands/wait/). Default: 0. When
	// fewer replicas confirm an acquisition, the call returns an error and the acquisition
	// is undone. A renewal that fewer replicas confirm does not count, although the primary
	// may have made it. A call waits for the replicas for up to a twelfth of Lease, even when its
	// ctx never ends. The read timeout of the Pool's connections should be longer than
	// this: with a shorter one, a shortfall is reported as a timeout. An acquisition is
	// announced when the replicas have confirmed it.
	//
	// A failover makes no second holder where Replicas is the number of replicas and the
	// clocks of the servers agree to within a tenth of Lease. With fewer Replicas, a
	// replica that had not confirmed may be promoted while others go on to confirm.
	Replicas int

	holds holds
	turn  turn // held by a call that acquires the lock or sets its remaining time
	once  sync.Once
	there *remote // set by once
}

// acquire makes one attempt to acquire the lock for d, for session s. s is nil for a plain
// hold. When the lock was acquired, acquire returns the hold. Otherwise it returns a
// remaining time and an error, as Lock does.
func (l *Lock) acquire(ctx context.Context, op string, d time.Duration, s dependent) (*hold, time.Duration, error) {
	if err := l.check(op); err != nil {
		return nil, 0, err
	}
	if err := l.turn.take(ctx); err != nil {
		return nil, 0, l.fail(op, err)
	}
	defer l.turn.end()

	d = redisTime(d)
	h := newHold(clock.FromContext(ctx), cmp.Or(l.Owner, protocol.DefaultOwner()), d, s)
	mine, orphans := l.holds.attempt(h)
	defer l.holds.returned(h)
	a, r := l.remote().acquire(ctx, h, d, mine, orphans, func(f wire.Fate) { l.holds.failed(h, f, l.Replicas) })
	if r.Err != nil {
		l.holds.failed(h, r.Fate, l.Replicas)
		return nil, 0, l.fail(op, r.Err)
	}
	h.fence, h.acquired, h.belief.trust.sent = a.Fence, r.Sent, r.Sent
	h.fenceKey.set(0, d)
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

// check returns an error that is [ErrInvalid] if the fields of l do not make a lock.
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
	return failure(op, protocol.NewKeys(l.Key), wrong)
}

// fail returns the error of operation op, which failed because of err.
func (l *Lock) fail(op string, err error) error { return failure(op, l.remote().keys, err) }

// remote returns the lock as Redis has it.
func (l *Lock) remote() *remote {
	l.once.Do(func() {
		l.there = &remote{pool: l.Pool, keys: protocol.NewKeys(l.Key), lease: l.lease(), replicas: l.Replicas}
	})
	return l.there
}

func (l *Lock) lease() lease { return lease(cmp.Or(l.Lease, DefaultLease)) }
