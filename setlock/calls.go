package setlock

import (
	"context"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/wire"
)

// Lock acquires the lock for d, rounded up to whole milliseconds, at least one. Lock does
// not wait for a holder to release the lock.
//
// When the lock was free, Lock returns 0 and nil. The key then expires d after Redis has run
// the request, unless Extend or Renew changes its remaining time. When another holder has the
// lock, Lock returns the remaining time of the key and [ErrNotHeld]. When this Lock holds
// it, by Lock or by a Do that runs, Lock returns the remaining time, which Lock does not
// change, and [ErrAlreadyHeld]. A remaining time that is returned with one of these errors
// is never 0. It is negative for a key without expiry.
//
// After any other error the lock is not held. When a reply never comes, a helper tries to
// undo the acquisition for up to two seconds after the call. If the helper fails, the next
// Lock or Do of this Lock adopts the acquisition, or its next Unlock releases it.
func (l *Lock) Lock(ctx context.Context, d time.Duration) (time.Duration, error) {
	_, remaining, err := l.acquire(ctx, "lock", d, nil)
	return remaining, err
}

// Extend adds d, rounded up to whole milliseconds, at least one, to the remaining time of
// the lock. Under a running Do the added time lasts until the next renewal.
//
// A key whose expiry was removed has no remaining time. Extend sets the remaining time of
// such a key to d, or to the time that the key had left as far as this Lock knows,
// whichever is longer. Under a running Do, Extend sets it to Lease at least.
//
// Extend returns [ErrNotHeld] when this Lock does not hold the key. After any other error
// the time may or may not have been extended.
func (l *Lock) Extend(ctx context.Context, d time.Duration) error {
	const op = "extend"
	return l.setTime(ctx, op, func(h *hold) error {
		d := redisTime(d)
		before, held := l.holds.change(h, func(b belief) belief { return b.extending(d) })
		if !held {
			return ErrNotHeld
		}
		least := before.trust.key(h.clock.Now())
		if h.session != nil {
			least = max(least, time.Duration(l.lease()))
		}
		remaining, mine, r := l.remote().extend(ctx, h, d, least)
		switch {
		case r.Err != nil:
			return l.fail(op, r.Err)
		case !mine:
			return l.taken(h)
		}
		l.holds.change(h, func(b belief) belief { return b.set(h.clock.Now(), r.Sent, remaining) })
		return nil
	})
}

// Renew sets the remaining time of the lock to d, rounded up to whole milliseconds, at
// least one. Under a running Do, Renew sets it to Lease at least, and the time lasts until
// the next renewal.
//
// Renew returns [ErrNotHeld] when this Lock does not hold the key. After any other error,
// Redis may or may not have set the time. Redis may also set it later, even after another
// call. Fence takes this into account.
func (l *Lock) Renew(ctx context.Context, d time.Duration) error {
	const op = "renew"
	return l.setTime(ctx, op, func(h *hold) error {
		d := redisTime(d)
		if h.session != nil {
			d = max(d, time.Duration(l.lease()))
		}
		before, held := l.holds.change(h, func(b belief) belief { return b.renewing(h.clock.Now(), d) })
		if !held {
			return ErrNotHeld
		}
		mine, r := l.remote().renew(ctx, h, d)
		switch {
		case r.Err != nil && !r.Fate.MayHaveRun():
			l.holds.change(h, func(b belief) belief { b.trust = before.trust; return b })
			return l.fail(op, r.Err)
		case r.Err != nil && r.Fate == wire.Unknown:
			l.holds.change(h, func(b belief) belief { return b.mayRenewLate(h.clock.Now(), d) })
			return l.fail(op, r.Err)
		case r.Err != nil:
			return l.fail(op, r.Err)
		case !mine:
			return l.taken(h)
		}
		l.holds.change(h, func(b belief) belief { return b.set(h.clock.Now(), r.Sent, d) })
		return nil
	})
}

// Unlock releases the lock. Under a running Do, the context of its function ends before
// Unlock releases the lock, with an [ErrLost] as its cause.
//
// Unlock returns [ErrNotHeld] when this Lock does not hold the key. It never touches a key
// that another holder has. After any other error the lock may or may not have been
// released, or may be released later, even after another call. From then on Fence returns
// 0, unless the request was never sent or Redis has refused it. Unlock may be called again.
func (l *Lock) Unlock(ctx context.Context) error {
	const op = "unlock"
	if err := l.check(op); err != nil {
		return err
	}
	if !l.holds.anyToRelease(clock.FromContext(ctx).Now()) {
		return ErrNotHeld
	}
	if ctx.Err() != nil {
		return l.fail(op, context.Cause(ctx))
	}
	h, values := l.holds.releasing(clock.FromContext(ctx).Now())
	if len(values) == 0 {
		return ErrNotHeld
	}
	if h != nil {
		h.lose(errReleased)
	}
	released, r := l.remote().release(ctx, l.Pool, values...)
	if r.Err != nil {
		if h != nil && !r.Fate.MayHaveRun() {
			l.holds.change(h, func(b belief) belief { b.unlocks--; return b })
		}
		return l.fail(op, r.Err)
	}
	l.holds.drop(h)
	if !released {
		return ErrNotHeld
	}
	return nil // the orphans remain, because one of them may still reach Redis
}

// Fence returns the fencing token of this Lock's hold, or 0 when this Lock does not hold
// the key. Fence judges at the call, without asking Redis.
//
// The hold of a Do counts while the lock is trusted, until the function of Do has returned.
// It counts even when the ctx of Do has ended, while the function still runs. The hold of a
// call of Lock counts for 0.9 of the time that Lock, Extend or Renew gave it, because
// clocks do not run alike. It counts until a call of Unlock may have released it. Tokens of
// one Key strictly increase from hold to hold. The package documentation names the
// exceptions.
func (l *Lock) Fence() int64 { return l.holds.fence() }

// setTime calls set with the hold, to set the remaining time of its key. Only one such call
// runs at a time.
func (l *Lock) setTime(ctx context.Context, op string, set func(h *hold) error) error {
	if err := l.check(op); err != nil {
		return err
	}
	// Two calls could overtake each other on their way to Redis. Then nobody could tell
	// which of the two times the key has. So the calls take turns.
	if err := l.turn.take(ctx); err != nil {
		return l.fail(op, err)
	}
	defer l.turn.end()
	h := l.holds.current()
	if h == nil {
		return ErrNotHeld
	}
	return set(h)
}

// taken records that the key is not h's any more, ends the session of h, and returns
// ErrNotHeld.
func (l *Lock) taken(h *hold) error {
	l.holds.drop(h)
	h.lose(errTaken)
	return ErrNotHeld
}
