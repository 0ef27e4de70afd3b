package setlock

import (
	"math/rand/v2"
	"time"
)

// The Leases of a [Lock].
const (
	// DefaultLease is the Lease of a Lock that names none.
	DefaultLease = 15 * time.Second
	// MinLease is the shortest Lease: below it, the pauses of a garbage
	// collector or of a busy machine would lose locks.
	MinLease = 100 * time.Millisecond
	// MaxLease is the longest Lease.
	MaxLease = 365 * 24 * time.Hour
)

// A lease is how long the key of a session lives without a renewal. Every other
// duration of a session is a part of it. How long a lease is trusted, see trust.
type lease time.Duration

// renewInterval is the longest time from the request of one renewal that counted to
// that of the next.
func (l lease) renewInterval() time.Duration { return time.Duration(l / 3) }

// acquireTimeout bounds an attempt to acquire: a third on the way leaves more than half of
// the trust.
func (l lease) acquireTimeout() time.Duration { return time.Duration(l / 3) }

// renewTimeout bounds an attempt to renew, or to look who holds the lock.
func (l lease) renewTimeout() time.Duration { return time.Duration(l / 6) }

// confirmTimeout bounds how long the replicas may take to confirm within an attempt.
func (l lease) confirmTimeout() time.Duration { return time.Duration(l / 12) }

// releaseTimeout bounds each of the two tries to release the lock at the end of a session.
func (l lease) releaseTimeout() time.Duration { return time.Duration(l / 12) }

// retryInterval is the pause before a renewal that failed is tried again.
func (l lease) retryInterval() time.Duration { return jitter(time.Duration(l / 20)) }

// firstRenewal is the age of a session at its first renewal, when it begins to listen to
// announcements. A session that is shorter costs neither.
func (l lease) firstRenewal() time.Duration { return time.Duration(l / 20) }

// glance is the pause before the clocks are read again, to notice a suspended machine, when left
// is left of the trust.
func (l lease) glance(left time.Duration) time.Duration {
	return min(max(left, 0), time.Duration(l/20))
}

// pollInterval is the pause between two looks at the lock when nothing is pushed.
func (l lease) pollInterval() time.Duration { return jitter(time.Duration(l / 10)) }

// jitter returns a random duration from the upper half of d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// mistrust is the shortest time between two connections for announcements that are
// ended because they did not tell what they should have.
func (l lease) mistrust() time.Duration { return time.Duration(10 * l) }
