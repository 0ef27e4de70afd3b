package setlock

import (
	"math/rand/v2"
	"time"
)

// The default and the limits of [Lock.Lease].
const (
	// DefaultLease is the Lease of a Lock whose Lease is 0.
	DefaultLease = 15 * time.Second
	// MinLease is the shortest Lease. With a shorter Lease, the pauses of a garbage
	// collector or of a busy machine would lose locks.
	MinLease = 100 * time.Millisecond
	// MaxLease is the longest Lease: a year.
	MaxLease = 365 * 24 * time.Hour
)

// A lease is how long the key of a session lives without a renewal. Every other duration of
// a session is a part of the lease, and a method here. How long a lease is trusted is in
// type trust.
type lease time.Duration

// renewInterval is the longest time between two renewals that count, from the request of
// the first to the request of the second. The docs of this package and of Do name its
// value. It is also the maximum interval of the backoff of a watch whose looks fail.
func (l lease) renewInterval() time.Duration { return time.Duration(l / 3) }

// acquireTimeout bounds an attempt of Do to acquire the lock. If the attempt takes all this
// time, more than half of the trust is left.
func (l lease) acquireTimeout() time.Duration { return time.Duration(l / 3) }

// renewTimeout bounds an attempt to renew the lock, or to look who holds it.
func (l lease) renewTimeout() time.Duration { return time.Duration(l / 6) }

// confirmTimeout bounds the time that replicas have to confirm a write, within an attempt.
func (l lease) confirmTimeout() time.Duration { return time.Duration(l / 12) }

// releaseTimeout bounds each of the two attempts to release the lock at the end of a
// session.
func (l lease) releaseTimeout() time.Duration { return time.Duration(l / 12) }

// retryInterval is the pause between a renewal that failed and the next attempt.
func (l lease) retryInterval() time.Duration { return jitter(time.Duration(l / 20)) }

// firstRenewal is the age at which a session renews its lock for the first time and
// subscribes to announcements. A session that ends sooner does neither.
func (l lease) firstRenewal() time.Duration { return time.Duration(l / 20) }

// glance is the pause before the guard reads the clocks again. left is how much of the
// trust is left. The pause is short, because the timer of a suspended machine stops while
// the wall clock runs on.
func (l lease) glance(left time.Duration) time.Duration {
	return min(max(left, 0), time.Duration(l/20))
}

// pollInterval is the pause between two looks at the lock while announcements do not
// arrive.
func (l lease) pollInterval() time.Duration { return jitter(time.Duration(l / 10)) }

// jitter returns a random duration from the upper half of d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// doubtInterval is the shortest time between two replacements of a connection for
// announcements that answers but did not deliver an announcement.
func (l lease) doubtInterval() time.Duration { return time.Duration(10 * l) }
