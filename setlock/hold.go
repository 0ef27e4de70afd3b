package setlock

import (
	"time"

	"example.com/setlock/internal/clock"
)

// A belief is how long a hold without a Do may be believed, and its key may exist.
// It is a value: its methods take the time and return what holds then.
type belief struct {
	// The key lives at least until sent + ttl.
	sent time.Time
	ttl  time.Duration

	// A Renew without a reply may still set the time to late, until lateUntil.
	// Zero: none may.
	late      time.Duration
	lateUntil time.Time

	unlocks int       // calls of Unlock that have released the lock, or may still
	ends    time.Time // when the key can no longer exist
}

// acquired is the belief in an acquisition for d that is about to be sent.
func acquired(now time.Time, d time.Duration) belief {
	return belief{sent: now, ttl: d, ends: now.Add(d).Add(lateFor)}
}

// left returns for how much longer the hold may be believed at now: 0.9 of its
// time, as a session's trust, because clocks do not run alike.
func (b belief) left(now time.Time) time.Duration {
	if b.unlocks > 0 {
		return 0
	}
	return lease(b.ttl).trust() - clock.Elapsed(b.sent, now)
}

// key returns for how much longer the key is known to live at now.
func (b belief) key(now time.Time) time.Duration { return b.ttl - clock.Elapsed(b.sent, now) }

// renewing is the belief while a Renew to d, sent at now, is under way: the shorter
// of both times counts.
func (b belief) renewing(now time.Time, d time.Duration) belief {
	if d < b.key(now) {
		b.sent, b.ttl = now, d
	}
	b.ends = later(b.ends, now.Add(d).Add(lateFor))
	return b
}

// extending is the belief while an Extend by d is under way.
func (b belief) extending(d time.Duration) belief {
	b.ends = b.ends.Add(d)
	return b
}

// renewedLate is the belief at now after a Renew to d without a reply: it may still
// arrive, also after another call.
func (b belief) renewedLate(now time.Time, d time.Duration) belief {
	if b.late == 0 || d < b.late || now.After(b.lateUntil) {
		b.late = d
	}
	b.lateUntil = now.Add(lateFor)
	return b
}

// set is the belief at now, when a Renew or an Extend that was sent at sent has set
// the time to d.
func (b belief) set(now, sent time.Time, d time.Duration) belief {
	b.sent, b.ttl = sent, d
	if b.late > 0 && !now.After(b.lateUntil) {
		b.ttl = min(d, b.late)
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
