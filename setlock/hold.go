package setlock

import (
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
)

// A hold is an acquisition that succeeded.
type hold struct {
	value    string
	fence    int64
	clock    clock.Clock
	acquired time.Time // before the request
	work     work      // nil for a hold without a Do
	belief   belief    // guarded by holds.mu
}

// A work is what depends on a hold: a session.
type work interface {
	// lose ends the work because of reason.
	lose(reason error)
	// trusted returns for how much longer the hold may be trusted.
	trusted() time.Duration
}

// fenceAt returns the fence at now, or 0 when the hold is not trusted. b is its belief.
func (h *hold) fenceAt(now time.Time, b belief) int64 {
	left := b.left(now)
	if h.work != nil {
		left = h.work.trusted()
	}
	if left <= 0 {
		return 0
	}
	return h.fence
}

// lose ends what depends on the hold.
func (h *hold) lose(reason error) {
	if h.work != nil {
		h.work.lose(reason)
	}
}

// A trust is for how long a hold may be trusted after a request that gave its key
// a remaining time.
type trust struct {
	sent time.Time     // before the request
	ttl  time.Duration // the key lives until sent + ttl at least
}

// left returns how much of the trust is left at now: 0.9 of the remaining time. The last
// tenth is the margin for clocks that differ, and for work that takes a moment to stop.
func (t trust) left(now time.Time) time.Duration {
	return trusted(t.ttl) - clock.Elapsed(t.sent, now)
}

// trusted is for how long a remaining time of d is trusted.
func trusted(d time.Duration) time.Duration { return d - d/10 }

// key returns for how much longer the key is known to live at now.
func (t trust) key(now time.Time) time.Duration { return t.ttl - clock.Elapsed(t.sent, now) }

// renewed returns the trust after the reply, received at now, to a renewal that was
// sent at sent. It returns false when the reply came after its own trust had ended: it
// does not count then.
func (t trust) renewed(sent, now time.Time) (trust, bool) {
	next := trust{sent: sent, ttl: t.ttl}
	if next.left(now) <= 0 {
		return t, false
	}
	if clock.Elapsed(t.sent, sent) < 0 {
		return t, true
	}
	return next, true
}

// A belief is the trust in a hold without a Do, with what calls without a reply may have
// done to it, or may still do.
type belief struct {
	trust trust

	// A Renew without a reply may still set the remaining time to late, until
	// lateUntil. Zero: none may.
	late      time.Duration
	lateUntil time.Time

	unlocks int       // calls of Unlock that have released the lock, or may still
	ends    time.Time // when the key can no longer exist
}

// acquiring is the belief in an acquisition for d that is about to be sent at now.
func acquiring(now time.Time, d time.Duration) belief {
	return belief{trust: trust{now, d}, ends: now.Add(d).Add(lateFor)}
}

// left returns for how much longer the hold may be trusted at now.
func (b belief) left(now time.Time) time.Duration {
	if b.unlocks > 0 {
		return 0
	}
	return b.trust.left(now)
}

// renewing is the belief while a Renew to d, sent at now, is under way: the shorter
// of both times counts.
func (b belief) renewing(now time.Time, d time.Duration) belief {
	if d < b.trust.key(now) {
		b.trust = trust{now, d}
	}
	b.ends = later(b.ends, now.Add(d).Add(lateFor))
	return b
}

// extending is the belief while an Extend by d is under way.
func (b belief) extending(d time.Duration) belief {
	b.ends = b.ends.Add(d)
	return b
}

// mayRenewLate is the belief at now after a Renew to d without a reply: it may still
// arrive, also after another call.
func (b belief) mayRenewLate(now time.Time, d time.Duration) belief {
	if b.late == 0 || d < b.late || now.After(b.lateUntil) {
		b.late = d
	}
	b.lateUntil = now.Add(lateFor)
	return b
}

// set is the belief at now, when a Renew or an Extend that was sent at sent has set
// the remaining time to d.
func (b belief) set(now, sent time.Time, d time.Duration) belief {
	if b.late > 0 && !now.After(b.lateUntil) {
		d = min(d, b.late)
	}
	b.trust = trust{sent, d}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// redisTime returns d as Redis takes it: in whole milliseconds, rounded up, at least 1.
func redisTime(d time.Duration) time.Duration {
	return protocol.RemainingTime(protocol.Milliseconds(d))
}
