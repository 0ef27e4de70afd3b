package setlock

import (
	"context"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/wire"
)

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
	const op = "extend"
	return l.setTime(ctx, op, func(h *hold) error {
		d := redisTime(d)
		before := l.holds.change(h, func(b belief) belief { return b.extending(d) })
		least := before.trust.key(h.clock.Now())
		if h.work != nil {
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

// Renew sets the remaining time of the lock to d, rounded up to whole
// milliseconds, at least one. Under a running Do it sets no less than Lease, and
// lasts until the next renewal. It returns ErrNotHeld when this Lock does not
// hold the key. After any other error the time may or may not have been set, or may
// be set yet, even after another call: Fence reckons with that.
func (l *Lock) Renew(ctx context.Context, d time.Duration) error {
	const op = "renew"
	return l.setTime(ctx, op, func(h *hold) error {
		d := redisTime(d)
		if h.work != nil {
			d = max(d, time.Duration(l.lease()))
		}
		before := l.holds.change(h, func(b belief) belief { return b.renewing(h.clock.Now(), d) })
		mine, r := l.remote().renew(ctx, l.Pool, h, d)
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
	if !l.holds.any(clock.FromContext(ctx).Now()) {
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
	return nil // the orphans remain: one that is on its way may still arrive
}

// Fence returns the fencing token of this Lock's hold, or 0 when it is not held:
// as judged at the call, without asking Redis. For a Do that is while the lock is
// trusted, until its function has returned, also if the context of that has ended with
// the caller's; otherwise for 0.9 of the time that Lock, Extend or Renew gave it, because
// clocks do not run alike, and until Unlock may have released it. Tokens of one Key strictly increase from
// hold to hold.
func (l *Lock) Fence() int64 { return l.holds.fence() }

// setTime has set set the remaining time of the hold.
func (l *Lock) setTime(ctx context.Context, op string, set func(h *hold) error) error {
	if err := l.check(op); err != nil {
		return err
	}
	// Two calls could overtake each other on their way to Redis, and nobody could tell which
	// time is the last. So they take turns.
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

// taken notes that the key is not h's any more. It returns ErrNotHeld.
func (l *Lock) taken(h *hold) error {
	l.holds.drop(h)
	h.lose(errTaken)
	return ErrNotHeld
}
