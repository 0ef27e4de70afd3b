package setlock

import (
	"math/rand/v2"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/seam"
)

// The Leases of a [Lock].
const (
	// DefaultLease is the Lease of a Lock that names none.
	DefaultLease = seam.DefaultLease
	// MinLease is the shortest Lease: below it, the pauses of a garbage
	// collector or of a busy machine would lose locks.
	MinLease = 100 * time.Millisecond
	// MaxLease is the longest Lease.
	MaxLease = 365 * 24 * time.Hour
)

const (
	// fenceLinger is how much longer a fence key lives than its lock would.
	fenceLinger = time.Hour
	// joinFor is how long a call whose context has ended waits for its
	// helper to let go of the connection that was taken away from it.
	joinFor = 5 * time.Millisecond
	// undoFor bounds the time in which an acquisition that nobody waits for
	// any more is undone.
	undoFor = time.Second
)

// A lease is the time that a Lock lives without being renewed. Every other
// time of a term is a part of it.
type lease time.Duration

// trust is how long an acquisition or a renewal is believed, counted from
// before its request. The last tenth is the margin for clocks that differ and
// for work that takes a moment to stop.
func (l lease) trust() time.Duration { return time.Duration(l - l/10) }

// renewEvery is the longest time from the request of one renewal that counted to
// that of the next.
func (l lease) renewEvery() time.Duration { return time.Duration(l / 3) }

// acquire bounds one try to acquire: a third on the way leaves more than half of
// the trust.
func (l lease) acquire() time.Duration { return time.Duration(l / 3) }

// attempt bounds one try to renew, or to look who holds the lock.
func (l lease) attempt() time.Duration { return time.Duration(l / 6) }

// wait bounds how long the replicas may take to confirm within an attempt.
func (l lease) wait() time.Duration { return time.Duration(l / 12) }

// release bounds one of the two tries to release the lock at the end of a term.
func (l lease) release() time.Duration { return time.Duration(l / 12) }

// retry is the pause before a renewal that failed is tried again.
func (l lease) retry() time.Duration { return jitter(time.Duration(l / 20)) }

// settle is how old a term is when it starts to listen to announcements: one
// that is over sooner costs no subscription.
func (l lease) settle() time.Duration { return time.Duration(l / 20) }

// glance is how often a term reads the clocks, to see a suspended machine.
func (l lease) glance() time.Duration { return time.Duration(l / 20) }

// poll is the pause between two looks at the lock when nothing is pushed.
func (l lease) poll() time.Duration { return jitter(time.Duration(l / 10)) }

// mistrust is the shortest time between two connections for announcements that are
// ended because they did not tell what they should have.
func (l lease) mistrust() time.Duration { return time.Duration(10 * l) }

// jitter returns a random duration from the upper half of d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// A window is the time in which a hold may be believed.
type window struct {
	trust time.Duration
	sent  time.Time // when the last request that counted was about to be sent
}

// left returns how much of the window is left at now, by the stricter of both
// clocks; 0 or less when it has ended.
func (w window) left(now time.Time) time.Duration { return w.trust - clock.Elapsed(w.sent, now) }

// renewed returns the window after the reply, received at now, to a renewal
// that was sent at sent; false if that came after its own trust had ended, when it does
// not count.
func (w window) renewed(sent, now time.Time) (window, bool) {
	next := window{trust: w.trust, sent: sent}
	if next.left(now) <= 0 {
		return w, false
	}
	if clock.Elapsed(w.sent, sent) < 0 {
		return w, true
	}
	return next, true
}
