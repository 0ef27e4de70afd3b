package election

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/setlock"
)

// ErrResigned is the cause of the context of OnElected after [Election.Resign]. Test for it with
// [errors.Is].
var ErrResigned = errors.New("election: resigned")

var (
	errRunning  = errors.New("election: Run is running already")
	errNoLock   = errors.New("election: no Lock")
	errBackOff  = errors.New("election: BackOff returned nil")
	errPanicked = errors.New("election: OnElected panicked or called runtime.Goexit")
)

// An Election is one candidate. A literal with a Lock is ready to use.
//
// All methods may be called concurrently. After the first call of a method, the fields must not be
// changed and the Election must not be copied.
type Election struct {
	// Lock is the lock that the leader holds. It is required. Its Key names the election, and its
	// Owner names this candidate. Its Lease is how long the other candidates wait when the leader
	// dies. While the Election uses the Lock, nothing else may use it.
	Lock *setlock.Lock

	// OnElected is the work of the leader. It is called when this candidate is elected, in the
	// goroutine that called Run, and never twice at a time. Its context carries the fencing token,
	// see [setlock.FenceFromContext]. The context ends when the leadership ends, and OnElected must
	// return then.
	//
	// When OnElected returns, whether nil or an error, the leadership ends. Another candidate may
	// go first: this candidate campaigns again after one step of BackOff, and after the time that
	// [Election.Resign] documents if that is longer. An error made by [backoff.Permanent] ends Run
	// instead. If OnElected panics, the lock is released and the panic propagates.
	//
	// An error of OnElected is never lost: it is in [Change] and in the log, and Run returns it if
	// ctx has ended. It counts as no error if it says only that the context has ended: the Err or
	// the cause of the context, or an error that wraps nothing else.
	//
	// If OnElected is nil, the leadership is held until the context of Run ends.
	OnElected func(ctx context.Context) error

	// BackOff returns the pace of a Run. One step is one result of its NextBackOff. Run waits for
	// one step after an error, after a term, and when an attempt finds the lock held while nobody
	// is seen to lead. When a step is [backoff.Stop], Run returns the last error; where there is
	// none, because the lock is held, it waits for a tenth of the Lease.
	//
	// Run resets the pace when a leader is seen, and after a term, unless the term lasted less than
	// a Lease and ended with an error or a loss. A term that Resign ended always resets it.
	//
	// Run also resets the pace before its first use. So BackOff may return the same object each
	// time, but not to two Elections at once.
	//
	// If BackOff is nil, the pace is exponential with jitter, from 100 ms. No step is longer than a
	// third of the Lease or than 5 s, and the number of steps is not limited.
	BackOff func() backoff.BackOff

	// Logger receives terms and new leaders at level Info. It receives at level Warn losses, errors
	// of OnElected, and once per change of the error failed attempts and a lock key without expiry.
	// Its keys are key, owner, leader, fence, err, and held, which is the length of a term. The
	// Handler of Logger must not block: renewals do not wait for it, but OnElected, the release of
	// the lock and Run do. If Logger is nil, nothing is logged.
	Logger *slog.Logger

	mu       sync.Mutex     // guards the fields below; never held across I/O
	running  bool           // true while a Run runs
	returned bool           // a Run has returned, and no other Run has begun since
	failed   error          // the error of that Run
	clock    clock.Clock    // the clock of the last Run
	leader   setlock.Holder // the leader as last seen
	seen     moment         // when Redis last told that there is a leader
	changes  changes
	term     *term // non-nil while OnElected runs
	loss     loss  // of a term that has not begun yet; or of the last term, why its context had ended
	health   health
	counters counters
	pushed   bool // announcements reach the watch of the last Run
}

// Run campaigns, and leads when this candidate is elected, until ctx ends. Run blocks. When ctx
// ends, Run returns after OnElected has returned and the lock is released. It then returns nil, or
// the error of OnElected if that says more than that its context has ended.
//
// An error of Redis never ends Run. Three things do:
//   - The Lock is nil or invalid, see [setlock.ErrInvalid], BackOff returns nil, or another Run of
//     this Election runs. Run returns an error at once.
//   - OnElected returns an error made by [backoff.Permanent]. Run returns the error inside it.
//   - BackOff stops, see [backoff.Stop]. Run returns the last error, or nil if OnElected returned
//     nil last.
func (e *Election) Run(ctx context.Context) (err error) {
	if err := e.begin(clock.FromContext(ctx)); err != nil {
		return err
	}
	defer func() { e.end(err) }()
	if e.Lock == nil {
		return errNoLock
	}
	pace := e.backOff()
	if pace == nil {
		return errBackOff
	}
	pace.Reset() // an earlier Run may have used the same object
	c := &campaign{election: e, pace: pace}
	defer c.unwatch()
	err = errPanicked // for Check, unless run returns
	return c.run(e.traced(ctx))
}

// Resign ends the present term of this candidate, if it leads: the context of OnElected ends with
// the cause [ErrResigned]. Resign does not wait until OnElected returns.
//
// After Resign, this candidate is still a candidate. If another candidate waits and can reach
// Redis, it is the next leader, however soon after the election Resign was called. Where announcements
// arrive, the hand-over takes a few round trips.
//
// This candidate follows the new leader. Without one, it campaigns again after one step of
// BackOff. While announcements do not reach it, it waits for a tenth to a fifth of the Lease if this
// is longer than the step, because the others look at the lock ten to twenty times per Lease.
//
// Where announcements can be received but nobody may publish them, this candidate may be the next.
func (e *Election) Resign() {
	e.mu.Lock()
	t := e.term
	e.mu.Unlock()
	if t != nil {
		t.cancel(ErrResigned)
		t.noticeEnd()
	}
}

// IsLeader reports whether this candidate leads. It returns true only while the context of
// OnElected has not ended and the lock is trusted, by the clock at the time of the call. IsLeader
// sends nothing to Redis and never blocks.
func (e *Election) IsLeader() bool {
	e.mu.Lock()
	t := e.term
	e.mu.Unlock()
	return t.leads()
}

// Leader returns the leader as last seen. It returns the zero Holder when nobody is known to lead:
// Redis said so, or this candidate cannot ask Redis and the leader's remaining time ran out a quarter
// of the Lease ago. Attempts to be elected, each of a third of the Lease at most, delay this while they
// are under way.
func (e *Election) Leader() setlock.Holder {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader
}

func (e *Election) begin(c clock.Clock) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running {
		return errRunning
	}
	e.running, e.returned, e.failed = true, false, nil
	e.clock, e.health, e.pushed = c, health{}, false
	return nil
}

func (e *Election) end(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running, e.returned, e.failed = false, true, err
	e.changes.close()
}

func (e *Election) backOff() backoff.BackOff {
	if e.BackOff != nil {
		return e.BackOff()
	}
	// A step is up to half as long again as its interval, because of the jitter.
	longest := min(e.lease()/3, 5*time.Second) * 2 / 3
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(min(100*time.Millisecond, longest)),
		backoff.WithMaxInterval(longest),
		backoff.WithMaxElapsedTime(0),
	)
}

// lease returns the Lease of the Lock, or the default if the Lock names none.
func (e *Election) lease() time.Duration { return cmp.Or(e.Lock.Lease, setlock.DefaultLease) }

// owner returns the Owner of the Lock, or the default if the Lock names none.
func (e *Election) owner() string { return cmp.Or(e.Lock.Owner, protocol.DefaultOwner()) }
