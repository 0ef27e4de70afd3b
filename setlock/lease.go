package setlock

import (
	"math/bits"
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

// retryInterval is the longest pause between a renewal that failed and the next attempt.
func (l lease) retryInterval() time.Duration { return time.Duration(l / 20) }

// firstRenewal is the age at which a session renews its lock for the first time and
// subscribes to announcements. A session that ends sooner does neither.
func (l lease) firstRenewal() time.Duration { return time.Duration(l / 20) }

// ahead is how long before it is due a renewal may be sent together with others.
func (l lease) ahead() time.Duration { return time.Duration(l / 40) }

// glance is the longest time between two looks at the wall clock, which runs on while a
// machine is suspended and its timers stand still.
func (l lease) glance() time.Duration { return time.Duration(l / 20) }

// drift is the difference between the wall clock and the monotonic clock that counts as a
// jump of the wall clock.
func (l lease) drift() time.Duration { return time.Duration(l / 100) }

// class returns a number that leases share only if they differ by a factor of two at most.
func (l lease) class() int { return bits.Len64(uint64(l)) }

// pollInterval is the pause between two looks at the lock while announcements do not
// arrive.
func (l lease) pollInterval() time.Duration { return jitter(time.Duration(l / 10)) }

// doubtHolder is how long looks must have failed before a watch reports nobody in place of a
// holder whose remaining time has run out. Within this time the looks use other connections,
// because the first may have been broken for long.
func (l lease) doubtHolder() time.Duration { return time.Duration(l / 20) }

// jitter returns a random duration from the upper half of d.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// doubtInterval is the shortest time between two replacements of a connection for
// announcements that answers but did not deliver an announcement.
func (l lease) doubtInterval() time.Duration { return time.Duration(10 * l) }

// A schedule says when the next renewal of a session is due, and on which kind of
// connection: one of the Pool, or one outside the Pool's limits. It is a value.
//
// The first renewal comes early, after lease.firstRenewal. It comes together with the
// subscription to announcements, because a subscription tells nothing of the time before
// it. The second renewal comes after a random part of the renewal interval that is left. So
// sessions that began together do not renew together, and neither do sessions that missed
// Redis together. Every later renewal is due one lease.renewInterval after the one before.
// A renewal that fails is tried again within lease.retryInterval, on the other kind of
// connection, whatever the error was. Package wire has not given the connection back to the
// Pool if it answered READONLY, or another error of a server that does not serve.
type schedule struct {
	lease   lease
	steady  bool // a renewal has counted: the next is due one interval after the last
	failing bool // the last attempt failed
	outside bool // the next attempt uses a connection outside the Pool's limits
}

// failed returns the schedule after an attempt that failed, and the pause before the next
// attempt.
func (s schedule) failed() (schedule, time.Duration) {
	s.failing, s.outside = true, !s.outside
	return s, jitter(s.lease.retryInterval())
}

// counted returns the schedule after a renewal that counted, and the pause before the next
// renewal. took is the time since the request of the renewal. extra is true for a renewal
// that was not scheduled.
func (s schedule) counted(took time.Duration, extra bool) (schedule, time.Duration) {
	pause := max(s.lease.renewInterval()-took, 0)
	if s.spreads(extra) {
		pause = rand.N(pause + 1)
	}
	return schedule{lease: s.lease, steady: true}, pause
}

// spreads reports whether the pause after a renewal that counted is random.
func (s schedule) spreads(extra bool) bool { return !s.steady || s.failing || extra }

// A leases counts how many renewals have each lease.
type leases map[lease]int

// shortest returns the shortest lease, or MaxLease when there is none.
func (l leases) shortest() lease {
	least := lease(MaxLease)
	for each := range l {
		least = min(least, each)
	}
	return least
}
