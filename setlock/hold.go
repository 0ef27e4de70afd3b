package setlock

import (
	"math"
	"sync/atomic"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
)

// A hold is an acquisition that succeeded, or one whose request is under way.
type hold struct {
	value    string
	fence    int64
	clock    clock.Clock
	acquired time.Time // when the request was about to be sent
	session  dependent // nil for a plain hold: one without a Do
	fenceKey fenceKey
	belief   belief // guarded by holds.mu
}

// newHold returns a hold that is about to be acquired for d.
func newHold(c clock.Clock, owner string, d time.Duration, session dependent) *hold {
	now := c.Now()
	return &hold{value: protocol.NewValue(owner), clock: c, acquired: now, session: session, belief: acquiring(now, d)}
}

// A dependent is what depends on a hold: a session. A hold knows no more of it, so that
// holds do not depend on sessions.
type dependent interface {
	// lose ends the session because of reason.
	lose(reason error)
	// trusted returns how much longer the session may be trusted.
	trusted() time.Duration
}

// fenceAt returns the fence of h at now, or 0 when h is not trusted. b is the belief of h.
// A session has its own trust, which replaces b.
func (h *hold) fenceAt(now time.Time, b belief) int64 {
	left := b.left(now)
	if h.session != nil {
		left = h.session.trusted()
	}
	if left <= 0 {
		return 0
	}
	return h.fence
}

// lose ends the session of h, if there is one, because of reason.
func (h *hold) lose(reason error) {
	if h.session != nil {
		h.session.lose(reason)
	}
}

// A trust says how long a hold may be trusted after a request that set the remaining time
// of its key.
type trust struct {
	sent time.Time     // when the request was about to be sent
	ttl  time.Duration // remaining time of the key: it lives at least until sent + ttl
}

// left returns how much of the trust is left at now. A hold is trusted for 0.9 of the
// remaining time of its key. The last tenth is the margin for clocks that differ, and for
// work that takes a moment to stop.
func (t trust) left(now time.Time) time.Duration {
	return trusted(t.ttl) - clock.Elapsed(t.sent, now)
}

// trusted returns how long a remaining time of d is trusted.
func trusted(d time.Duration) time.Duration { return d - d/10 }

// key returns how much longer the key is known to live at now.
func (t trust) key(now time.Time) time.Duration { return t.ttl - clock.Elapsed(t.sent, now) }

// renewed returns the trust after a renewal that was sent at sent and whose reply came at
// now. It returns t and false when the renewal does not count, because its reply came after
// its own trust had ended.
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

// A belief is the trust in a plain hold, together with what calls without a reply may have
// done to the hold, or may still do.
type belief struct {
	trust trust

	// late is the remaining time to which a Renew without a reply may still set the key,
	// until lateUntil. Zero: no Renew may.
	late      time.Duration
	lateUntil time.Time

	unlocks int       // calls of Unlock that have released the lock, or may still release it
	ends    time.Time // after this time the key cannot exist any more
}

// acquiring returns the belief in an acquisition for d that is about to be sent at now.
func acquiring(now time.Time, d time.Duration) belief {
	return belief{trust: trust{now, d}, ends: now.Add(d).Add(lateFor)}
}

// left returns how much longer the hold may be trusted at now.
func (b belief) left(now time.Time) time.Duration {
	if b.unlocks > 0 {
		return 0
	}
	return b.trust.left(now)
}

// renewing returns the belief while a Renew to d, sent at now, is under way. The Renew may
// run at any moment, so the shorter of the old and the new time counts.
func (b belief) renewing(now time.Time, d time.Duration) belief {
	if d < b.trust.key(now) {
		b.trust = trust{now, d}
	}
	b.ends = later(b.ends, now.Add(d).Add(lateFor))
	return b
}

// extending returns the belief while an Extend by d is under way.
func (b belief) extending(d time.Duration) belief {
	b.ends = b.ends.Add(d)
	return b
}

// mayRenewLate returns the belief at now after a Renew to d without a reply. The Renew may
// still reach Redis, even after another call.
func (b belief) mayRenewLate(now time.Time, d time.Duration) belief {
	if b.late == 0 || d < b.late || now.After(b.lateUntil) {
		b.late = d
	}
	b.lateUntil = now.Add(lateFor)
	return b
}

// set returns the belief at now after a Renew or an Extend that was sent at sent has set
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

// redisTime returns d as Redis takes it: rounded up to whole milliseconds, at least 1 ms.
func redisTime(d time.Duration) time.Duration {
	return protocol.RemainingTime(protocol.Milliseconds(d))
}

// A fenceKey says how long the fence key of a hold lives. Times are counted from when the
// hold was acquired. Its methods may be called by several goroutines at the same time.
type fenceKey struct {
	until atomic.Int64 // a time.Duration: the key lives at least until then
}

// set records that a script, sent at the given time, has set the remaining time of the lock
// key to d, and that of the fence key to protocol.FenceLinger more.
func (f *fenceKey) set(at, d time.Duration) {
	until := int64(at + min(d, longest) + protocol.FenceLinger)
	for old := f.until.Load(); old < until && !f.until.CompareAndSwap(old, until); old = f.until.Load() {
	}
}

// longest is a time that can be added to others without an overflow.
const longest = time.Duration(math.MaxInt64 / 2)

// due reports whether a script that is sent at the given time to set the remaining time of
// the lock key to d has to set that of the fence key, too. The fence key is to outlive the
// lock key by at least half of protocol.FenceLinger. So it is set about once an hour.
func (f *fenceKey) due(at, d time.Duration) bool {
	return at+min(d, longest)+protocol.FenceLinger/2 > time.Duration(f.until.Load())
}
