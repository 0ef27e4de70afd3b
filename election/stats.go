package election

import (
	"errors"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/trace"
	"example.com/setlock/setlock"
)

// Stats are figures of one Election, for dashboards and alerts. The counters, which are of type
// int64, count over all Runs of the Election. They never decrease.
type Stats struct {
	Leading bool      // whether this candidate leads, as IsLeader judges
	Leader  string    // the Owner of the leader, as last seen; "" when nobody is known to lead
	Fence   int64     // the leader's fencing token, as last seen; no counter; 0 when nobody is known to lead
	Seen    time.Time // when Redis last told that there is a leader; zero: never

	// Trust is how much longer this candidate may believe that it leads if no renewal succeeds. Just
	// after a renewal it is 0.9 of the Lease. It is 0 when this candidate does not lead.
	Trust time.Duration

	// Overdue is for how long OnElected has been running since its context ended. It is 0 when
	// OnElected does not run, or when its context has not ended.
	Overdue time.Duration

	Terms int64 // terms that this candidate has won

	// How terms ended. Together they are Terms, or one less while OnElected runs. When a context
	// ended and OnElected then returned, the reason of the context counts. A loss counts first.
	Returned int64 // OnElected returned nil by itself
	Failed   int64 // OnElected returned an error by itself, panicked, or called runtime.Goexit
	Resigned int64 // by Resign
	Lost     int64 // the lock was lost before OnElected returned
	ShutDown int64 // the context of Run ended

	Attempts       int64 // attempts to be elected that have ended
	FailedAttempts int64 // those of them that failed, not those that found the lock held
	Renewals       int64 // attempts to renew the lock that have ended
	FailedRenewals int64 // those of them that failed

	RoundTrip time.Duration // of the last renewal that succeeded; 0: none has
	Accepted  time.Time     // when Redis last answered a request without an error; zero: never
}

// A moment is a time for people, in nanoseconds since 1970, which takes less memory than a time.Time.
// 0 is the zero time.
type moment int64

func momentOf(t time.Time) moment { return moment(t.UnixNano()) }

func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(m))
}

// counters are the part of a Stats that is kept. Election.mu guards it.
type counters struct {
	terms, returned, failed, resigned, lost, shutDown int64
	attempts, failedAttempts                          int64
	renewals, failedRenewals                          int64
	roundTrip                                         time.Duration
	accepted                                          moment
}

// Stats returns the present figures. It sends nothing to Redis, never waits for Redis, and allocates
// nothing, so it may be called every second for each of thousands of elections.
func (e *Election) Stats() Stats {
	s, t := e.figures()
	if t.leads() {
		s.Trust = trace.Trusted(t.ctx)
		s.Leading = s.Trust > 0
	}
	return s
}

// figures returns what Stats returns, except for whether this candidate leads, and the present term.
func (e *Election) figures() (Stats, *term) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := &e.counters
	s := Stats{
		Leader: e.leader.Owner, Fence: e.leader.Fence, Seen: e.seen.time(),
		Terms: c.terms, Returned: c.returned, Failed: c.failed, Resigned: c.resigned, Lost: c.lost, ShutDown: c.shutDown,
		Attempts: c.attempts, FailedAttempts: c.failedAttempts, Renewals: c.renewals, FailedRenewals: c.failedRenewals,
		RoundTrip: c.roundTrip, Accepted: c.accepted.time(),
	}
	if e.term != nil && !e.term.ended.IsZero() {
		s.Overdue = max(clock.Elapsed(e.term.ended, e.clock.Now()), 0)
	}
	return s, e.term
}

// attempted counts an attempt to be elected that has ended. failed is true if it failed.
func (e *Election) attempted(failed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counters.attempts++
	if failed {
		e.counters.failedAttempts++
	}
}

// renewed counts an attempt to renew the lock that has ended with err.
func (e *Election) renewed(took time.Duration, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counters.renewals++
	if err != nil {
		e.counters.failedRenewals++
		return
	}
	e.counters.roundTrip = took
	e.seen = momentOf(e.clock.Now())
}

// count counts the end of t. cause is why the context of OnElected had ended, nil if it had not. own
// is the error of OnElected.
func (t *term) count(cause, own error) {
	t.election.mu.Lock()
	defer t.election.mu.Unlock()
	c := &t.election.counters
	switch {
	case t.told || errors.Is(cause, setlock.ErrLost): // only a loss is told before the end
		c.lost++
	case cause == ErrResigned:
		c.resigned++
	case cause != nil:
		c.shutDown++
	case own != nil:
		c.failed++
	default:
		c.returned++
	}
}
