package setlock

import (
	"context"
	"crypto/rand"
	"math"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/seam"
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

	mu      sync.Mutex    // guards what follows; never held across I/O
	turn    chan struct{} // one slot, full while a call acquires or sets the time
	names   *names        // nil before the first use
	held    *hold         // nil: not held, as far as is known
	orphans orphans
}

// A hold is an acquisition that succeeded.
type hold struct {
	value    string
	arg      any // value, as an argument of scripts
	fence    int64
	clock    clock.Clock
	acquired time.Time // before the request
	term     *term     // the Do that it belongs to, or nil

	belief belief // guarded by Lock.mu
}

// Lock acquires the lock for d, rounded up to whole milliseconds, at least one.
// It does not wait for a holder.
//
// When the lock was free, Lock returns 0 and nil; the key expires d after Redis
// has answered, unless Extend or Renew move that. When another holds it, Lock
// returns the remaining time of that hold and ErrNotHeld; when this Lock holds
// it, by Lock or by a Do that runs, the remaining time, which is left as it is, and
// ErrAlreadyHeld. A remaining time is never 0; it is negative for a key without
// expiry.
//
// After any other error the lock is not held: an acquisition whose reply never
// came is undone, for up to two seconds after the call, adopted by the next Lock
// or Do of this Lock, or released by its next Unlock.
func (l *Lock) Lock(ctx context.Context, d time.Duration) (time.Duration, error) {
	_, remaining, err := l.acquire(ctx, "lock", d, nil)
	return remaining, err
}

// Extend adds d, rounded up to whole milliseconds, at least one, to the remaining
// time of the lock. Under a running Do that lasts until the next renewal. A key whose
// expiry was taken away gets d, or what this Lock still trusts if that is more; under a
// running Do, at least Lease. Extend returns ErrNotHeld when this Lock does not hold the key. After any other
// error the time may or may not have been extended.
func (l *Lock) Extend(ctx context.Context, d time.Duration) error {
	return l.setTime(ctx, "extend", extendScript, d)
}

// Renew sets the remaining time of the lock to d, rounded up to whole
// milliseconds, at least one. Under a running Do it sets no less than Lease, and
// lasts until the next renewal. It returns ErrNotHeld when this Lock does not
// hold the key. After any other error the time may or may not have been set, or may
// be set yet, even after another call: Fence reckons with that.
func (l *Lock) Renew(ctx context.Context, d time.Duration) error {
	return l.setTime(ctx, "renew", renewScript, d)
}

// Unlock releases the lock. Under a running Do, the context of its function ends
// first, with ErrLost as its cause. Unlock returns ErrNotHeld when this Lock does not
// hold the key, and never touches what another holds. After any other error
// the lock may or may not have been released, or may be yet, even after another call:
// Fence is 0 from then on, unless the request never went out or Redis has refused it.
// Unlock may be called again.
func (l *Lock) Unlock(ctx context.Context) error {
	const op = "unlock"
	if err := l.check(op); err != nil {
		return err
	}
	ended := ctx.Err() != nil
	l.mu.Lock()
	l.orphans = l.orphans.expire(clock.FromContext(ctx).Now())
	h, values := l.held, l.orphans.values()
	if h != nil && !ended {
		h.belief.unlocks++
	}
	l.mu.Unlock()
	if h == nil && len(values) == 0 {
		return ErrNotHeld
	}
	if ended {
		return l.fail(op, context.Cause(ctx))
	}
	if h != nil {
		values = append(values, h.arg)
		if h.term != nil {
			h.term.lose(errReleased)
		}
	}
	r := l.releasing(true, values...).do(ctx, l.Pool)
	released, err := int64(0), r.err
	if err == nil {
		released, err = notMineOr(r.reply, replyReleased)
	}
	if err != nil {
		l.mu.Lock()
		if h != nil && !r.fate.ran() {
			h.belief.unlocks--
		}
		l.mu.Unlock()
		return l.fail(op, err)
	}
	l.mu.Lock()
	l.drop(h)
	l.mu.Unlock()
	if released == replyNotMine {
		return ErrNotHeld
	}
	return nil // the orphans stay: one that is on its way may yet arrive
}

// Fence returns the fencing token of this Lock's hold, or 0 when it is not held:
// as judged at the call, without asking Redis. For a Do that is while the lock is
// trusted, until its function has returned, also if the context of that has ended with
// the caller's; otherwise for 0.9 of the time that Lock, Extend or Renew gave it, because
// clocks do not run alike, and until Unlock may have released it. Tokens of one Key strictly increase from
// hold to hold.
func (l *Lock) Fence() int64 {
	l.mu.Lock()
	h := l.held
	var left time.Duration
	if h != nil {
		left = h.belief.left(h.clock.Now())
	}
	l.mu.Unlock()
	switch {
	case h == nil:
		return 0
	case h.term != nil:
		return h.term.trustedFence()
	case left <= 0:
		return 0
	}
	return h.fence
}

// acquire makes one attempt to acquire the lock for d, as part of t unless that
// is nil. It returns the hold, or as Lock does.
func (l *Lock) acquire(ctx context.Context, op string, d time.Duration, t *term) (*hold, time.Duration, error) {
	if err := l.check(op); err != nil {
		return nil, 0, err
	}
	if err := l.takeTurn(ctx); err != nil {
		return nil, 0, l.fail(op, err)
	}
	defer l.endTurn()

	ttl := milliseconds(d)
	c := clock.FromContext(ctx)
	now := c.Now()
	h := &hold{value: newValue(l.owner()), clock: c, term: t, belief: acquired(now, remainingTime(ttl))}
	h.arg = h.value
	n := l.redisNames()
	channel := n.channel
	if l.Replicas > 0 {
		channel = "" // announced when they have confirmed
	}
	x := acquireScript.with(n.key, n.fence, h.arg, ttl, lingerMillis, channel)
	x.replicas, x.wait, x.lock, x.hold = l.Replicas, min(l.lease().wait(), h.belief.ttl), l, h
	x.announced = l.Replicas == 0
	l.mu.Lock()
	mine := any("")
	if l.held != nil {
		mine = l.held.arg
	}
	l.orphans = l.orphans.expire(now)
	x.args = append(append(x.args, mine), l.orphans.values()...)
	l.orphans = l.orphans.add(orphan{value: h.value, until: h.belief.ends, running: true})
	l.mu.Unlock()
	defer l.returned(h.value) // also after a panic in the Pool's Dial

	r := x.do(ctx, l.Pool)
	var a acquisition
	err := r.err
	if err == nil {
		a, err = acquireReply(r.reply)
	}
	if err != nil {
		l.settle(h.value, r.fate)
		return nil, 0, l.fail(op, err)
	}

	l.mu.Lock()
	l.orphans = l.orphans.remove(h.value)
	old := l.held
	switch a.outcome {
	case replyAcquired:
		h.fence, h.acquired, h.belief.sent = a.fence, r.sent, r.sent
		l.held = h
	case replyMine:
		old = nil
	case replyOther:
		l.held = nil
	}
	l.mu.Unlock()
	if old != nil && old.term != nil {
		if a.outcome == replyAcquired {
			old.term.lose(errReplaced)
		} else {
			old.term.lose(errTaken)
		}
	}
	switch a.outcome {
	case replyAcquired:
		return h, 0, nil
	case replyMine:
		return nil, a.left, ErrAlreadyHeld
	}
	return nil, a.left, ErrNotHeld
}

// setTime runs extendScript or renewScript.
func (l *Lock) setTime(ctx context.Context, op string, script *script, d time.Duration) error {
	if err := l.check(op); err != nil {
		return err
	}
	// In turn: of two that overtake each other on the way, we could not tell
	// which time stands.
	if err := l.takeTurn(ctx); err != nil {
		return l.fail(op, err)
	}
	defer l.endTurn()
	d = remainingTime(milliseconds(d)) // as it goes out
	l.mu.Lock()
	h := l.held
	if h == nil {
		l.mu.Unlock()
		return ErrNotHeld
	}
	if h.term != nil && script == renewScript {
		d = max(d, time.Duration(l.lease()))
	}
	before := h.belief
	if now := h.clock.Now(); script == renewScript {
		h.belief = before.renewing(now, d)
	} else {
		h.belief = before.extending(d)
	}
	l.mu.Unlock()
	r := l.settingTime(h, script, d).do(ctx, l.Pool)
	if r.err != nil {
		l.mu.Lock()
		switch {
		case !r.fate.ran():
			h.belief.sent, h.belief.ttl = before.sent, before.ttl
		case r.fate == unknown && script == renewScript:
			h.belief = h.belief.renewedLate(h.clock.Now(), d)
		}
		l.mu.Unlock()
		return l.fail(op, r.err)
	}
	most := int64(replyRenewed)
	if script == extendScript {
		most = math.MaxInt64
	}
	n, err := notMineOr(r.reply, most)
	if err != nil {
		return l.fail(op, err)
	}
	if n == replyNotMine {
		l.taken(h)
		return ErrNotHeld
	}
	if script == extendScript {
		d = remainingTime(n)
	}
	l.mu.Lock()
	h.belief = h.belief.set(h.clock.Now(), r.sent, d)
	l.mu.Unlock()
	return nil
}

// settingTime is renewScript or extendScript for h.
func (l *Lock) settingTime(h *hold, script *script, d time.Duration) *exchange {
	n := l.redisNames()
	x := script.with(n.key, n.fence, h.arg, milliseconds(d), lingerMillis, h.fence)
	if script == extendScript {
		x.args = append(x.args, l.leastTime(h))
	}
	x.replicas, x.wait = l.Replicas, l.lease().wait()
	return x
}

// leastTime is what a key that has lost its expiry is given at least, in milliseconds: nobody
// shall acquire the lock while h is believed.
func (l *Lock) leastTime(h *hold) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	least := h.belief.key(h.clock.Now())
	if h.term != nil {
		least = max(least, time.Duration(l.lease()))
	}
	return milliseconds(least)
}

// releasing is the release of the value in the key, if that is one of values. It is
// announced unless nobody can have heard of the acquisition.
func (l *Lock) releasing(announced bool, values ...any) *exchange {
	n := l.redisNames()
	channel := n.channel
	if !announced {
		channel = ""
	}
	x := releaseScript.with(n.key, channel)
	x.args = append(x.args, values...)
	return x
}

// taken notes that h does not stand in Redis any more.
func (l *Lock) taken(h *hold) {
	l.mu.Lock()
	l.drop(h)
	l.mu.Unlock()
	if h.term != nil {
		h.term.lose(errTaken)
	}
}

// drop forgets h if it is what is held. l.mu is locked.
func (l *Lock) drop(h *hold) {
	if l.held == h {
		l.held = nil
	}
}

// takeTurn waits until nobody else acquires or sets the time on this Lock. Without
// an error, endTurn ends the turn.
func (l *Lock) takeTurn(ctx context.Context) error {
	l.mu.Lock()
	if l.turn == nil {
		l.turn = make(chan struct{}, 1)
	}
	turn := l.turn
	l.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *Lock) endTurn() { <-l.turn }

// settle notes the fate of an acquisition that has failed. One that was undone remains
// an orphan where there are replicas: the one that is promoted may have missed the undo.
func (l *Lock) settle(value string, f fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !f.ran() || f == undone && l.Replicas == 0 {
		l.orphans = l.orphans.remove(value)
	}
}

// returned notes that the call has returned whose acquisition stores value.
func (l *Lock) returned(value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.orphans.returned(value)
}

// termLeft returns how much longer a running Do that stored value may be
// believed; 0 if there is none.
func (l *Lock) termLeft(value string) time.Duration {
	l.mu.Lock()
	h := l.held
	l.mu.Unlock()
	if h == nil || h.term == nil || h.value != value {
		return 0
	}
	return h.term.trusted()
}

// redisNames returns what the Lock is called in Redis.
func (l *Lock) redisNames() *names {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.names == nil {
		l.names = newNames(l.Key)
	}
	return l.names
}

// newValue returns what a new acquisition by owner stores in the key.
func newValue(owner string) string { return rand.Text() + ":" + owner }

func (l *Lock) owner() string {
	if l.Owner == "" {
		return seam.DefaultOwner()
	}
	return l.Owner
}

func (l *Lock) lease() lease {
	if l.Lease == 0 {
		return lease(DefaultLease)
	}
	return lease(l.Lease)
}
