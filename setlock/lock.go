package setlock

import (
	"context"
	"crypto/rand"
	"slices"
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
// key and wrap their cause. A context that has ended makes every call return
// [context.Cause] of it, in such an error, without waiting for Redis; only Unlock of a
// Lock that is not held returns ErrNotHeld. Without a deadline in ctx, a call waits as
// long as the Pool's connections do.
type Lock struct {
	// Key is the Redis key of the lock, a string that exists while somebody
	// holds it. Required. The fencing tokens stand in a second key:
	// "{Key}:fence", or "Key:fence" where Key has a Cluster hash tag. So "k" and
	// "{k}" must not both be used.
	Key string

	// Pool gives the connections. Required. Its Dial should have timeouts, or
	// better be a DialContext. Connections that do not implement
	// [redis.ConnWithContext], as redigo's own do, cannot be interrupted: a helper may be
	// left in one until it answers.
	Pool *redis.Pool

	// Owner says, to people and to [Lock.Holder], who holds the lock. It does
	// not make the lock this Lock's: two may have the same. Default: host:pid.
	Owner string

	// Lease is what Do holds the key for between renewals: how long others wait
	// when the holder dies. Default: 15 s; at least 100 ms.
	Lease time.Duration

	// Replicas is how many replicas must confirm an acquisition or a renewal
	// (https://redis.io/docs/latest/commands/wait/) before it counts. Default: 0,
	// none. On an acquisition fewer are an error, and it is undone. A failover
	// makes no second holder where Replicas is the number of replicas and the clocks
	// of the servers agree to within a tenth of Lease; with fewer Replicas, one
	// that had not confirmed may be promoted while others go on to confirm.
	Replicas int

	mu     sync.Mutex    // guards what follows; never held across I/O
	turn   chan struct{} // one slot, full while somebody acquires or sets the time
	names  *names        // nil before the first use
	held   *hold         // nil: not held, as far as we know
	unsure []attempt     // acquisitions that may stand, or come to, without our knowing
}

// A hold is an acquisition that succeeded.
type hold struct {
	value    string
	arg      any // value, as an argument of scripts
	fence    int64
	clock    clock.Clock
	acquired time.Time // before the request
	term     *term     // the Do that it belongs to, or nil

	// Guarded by Lock.mu: the key lives at least until sent + ttl.
	sent     time.Time
	ttl      time.Duration
	late     time.Duration // what a Renew that may yet come would leave; 0: none will
	lateTill time.Time     // when to forget that
	unlocks  int           // calls of Unlock that have released it, or may yet
}

// An attempt is an acquisition whose outcome is unknown.
type attempt struct {
	value   string
	until   time.Time // when to forget it
	running bool      // its caller has yet to see how it ends
}

// maxUnsure bounds the attempts that are remembered.
const maxUnsure = 8

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
// came is undone, for up to two seconds after the call, or adopted by the next Lock
// or Do of this Lock.
func (l *Lock) Lock(ctx context.Context, d time.Duration) (time.Duration, error) {
	_, remaining, err := l.acquire(ctx, "lock", d, nil)
	return remaining, err
}

// Extend adds d, rounded up to whole milliseconds, at least one, to the remaining
// time of the lock. Under a running Do that lasts until the next renewal. It
// returns ErrNotHeld when this Lock does not hold the key. After any other
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
	h, unsure := l.held, l.unsureValues(clock.FromContext(ctx).Now())
	if h != nil && !ended {
		h.unlocks++
	}
	l.mu.Unlock()
	if h == nil && len(unsure) == 0 {
		return ErrNotHeld
	}
	if ended {
		return l.fail(op, context.Cause(ctx))
	}
	values := unsure
	if h != nil {
		values = append(values, h.arg)
		if h.term != nil {
			h.term.lose(errReleased)
		}
	}
	r := l.releasing(values...).do(ctx, l.Pool)
	if r.err != nil {
		l.mu.Lock()
		if h != nil && !r.ran {
			h.unlocks--
		}
		l.mu.Unlock()
		return l.fail(op, r.err)
	}
	l.mu.Lock()
	l.drop(h)
	l.mu.Unlock()
	if r.reply == int64(replyNotMine) {
		return ErrNotHeld
	}
	return nil // of the others, one that is on its way may yet come
}

// Fence returns the fencing token of this Lock's hold, or 0 when it is not held:
// as judged at the call, without asking Redis. For a Do that is while the lock is
// trusted, until its function has returned, also if the context of that has ended with
// the caller's; otherwise until the time that Lock, Extend or Renew gave it has
// passed, or Unlock may have released it. Tokens of one Key strictly increase from
// hold to hold.
func (l *Lock) Fence() int64 {
	l.mu.Lock()
	h := l.held
	var left time.Duration
	if h != nil && h.unlocks == 0 {
		left = h.ttl - clock.Elapsed(h.sent, h.clock.Now())
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
	now := clock.FromContext(ctx)
	h := &hold{value: newValue(l.owner()), clock: now, term: t, ttl: remainingTime(ttl)}
	h.arg = h.value
	n := l.redisNames()
	x := acquireScript.with(n.key, n.fence, h.arg, ttl, lingerMillis, n.channel)
	x.replicas, x.wait, x.lock, x.hold = l.Replicas, min(l.lease().wait(), h.ttl), l, h
	l.mu.Lock()
	mine := any("")
	if l.held != nil {
		mine = l.held.arg
	}
	x.args = append(append(x.args, mine), l.unsureValues(now.Now())...)
	l.unsure = append(l.unsure, attempt{value: h.value, until: now.Now().Add(h.ttl).Add(unsureFor), running: true})
	l.mu.Unlock()

	r := x.do(ctx, l.Pool)
	outcome, number, err := int64(0), int64(0), r.err
	if err == nil {
		outcome, number, err = acquireReply(r.reply)
	}
	if err != nil {
		l.notSettled(h.value, r.ran)
		return nil, 0, l.fail(op, err)
	}
	l.settle(h.value)

	l.mu.Lock()
	old := l.held
	switch outcome {
	case replyAcquired:
		h.fence, h.acquired, h.sent = number, r.sent, r.sent
		l.held = h
	case replyMine:
		old = nil
	case replyOther:
		l.held = nil
	}
	l.mu.Unlock()
	if old != nil && old.term != nil {
		if outcome == replyAcquired {
			old.term.lose(errReplaced)
		} else {
			old.term.lose(errTaken)
		}
	}
	switch outcome {
	case replyAcquired:
		return h, 0, nil
	case replyMine:
		return nil, remainingTime(number), ErrAlreadyHeld
	}
	return nil, remainingTime(number), ErrNotHeld
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
	sent, ttl := h.sent, h.ttl
	if now := h.clock.Now(); script == renewScript && d < ttl-clock.Elapsed(sent, now) {
		h.sent, h.ttl = now, d // believe the shorter time while both may stand
	}
	l.mu.Unlock()
	r := l.settingTime(h, script, d).do(ctx, l.Pool)
	if r.err != nil {
		l.mu.Lock()
		switch {
		case !r.ran:
			h.sent, h.ttl = sent, ttl
		case r.late && script == renewScript:
			now := h.clock.Now()
			if h.late == 0 || d < h.late || now.After(h.lateTill) {
				h.late = d
			}
			h.lateTill = now.Add(unsureFor)
		}
		l.mu.Unlock()
		return l.fail(op, r.err)
	}
	n, err := intReply(r.reply)
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
	h.sent, h.ttl = r.sent, d
	if h.late > 0 && !h.clock.Now().After(h.lateTill) {
		h.ttl = min(d, h.late) // that one may come after this
	}
	l.mu.Unlock()
	return nil
}

// settingTime is renewScript or extendScript for h.
func (l *Lock) settingTime(h *hold, script *script, d time.Duration) *exchange {
	n := l.redisNames()
	x := script.with(n.key, n.fence, h.arg, milliseconds(d), lingerMillis, h.fence)
	x.replicas, x.wait = l.Replicas, l.lease().wait()
	return x
}

// releasing is the release of whichever of values stands in the key.
func (l *Lock) releasing(values ...any) *exchange {
	n := l.redisNames()
	x := releaseScript.with(n.key, n.channel)
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

// unsureValues returns the values of acquisitions that may stand in Redis
// without our knowing. l.mu is locked.
func (l *Lock) unsureValues(now time.Time) []any {
	l.unsure = slices.DeleteFunc(l.unsure, func(a attempt) bool { return !a.running && now.After(a.until) })
	if len(l.unsure) > maxUnsure {
		l.unsure = slices.Delete(l.unsure, 0, len(l.unsure)-maxUnsure)
	}
	var values []any
	for _, a := range l.unsure {
		if !a.running {
			values = append(values, a.value)
		}
	}
	return values
}

// settle forgets acquisitions that are known to have happened, or not to.
func (l *Lock) settle(values ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsure = slices.DeleteFunc(l.unsure, func(a attempt) bool { return slices.Contains(values, a.value) })
}

// notSettled keeps an acquisition that failed, if it ran, for the next one
// to adopt.
func (l *Lock) notSettled(value string, ran bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, a := range l.unsure {
		if a.value != value {
			continue
		}
		if !ran {
			l.unsure = slices.Delete(l.unsure, i, i+1)
			return
		}
		l.unsure[i].running = false
	}
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
		return lease(defaultLease)
	}
	return lease(l.Lease)
}
