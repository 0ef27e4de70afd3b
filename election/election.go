package election

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/seam"
	"example.com/setlock/setlock"
)

// ErrResigned is the cause of the context of OnElected after Resign. Test for
// it with [errors.Is].
var ErrResigned = errors.New("election: resigned")

var (
	errRunning  = errors.New("election: Run is running already")
	errNoLock   = errors.New("election: no Lock")
	errBackOff  = errors.New("election: BackOff returned nil")
	errPanicked = errors.New("election: OnElected panicked or called runtime.Goexit")
)

// An Election is one candidate. A literal with a Lock is ready to use. All methods
// may be called concurrently; the fields must not be changed after the first call,
// and an Election must not be copied after it.
type Election struct {
	// Lock is what the leader holds. Required. Its Key names the election, its
	// Owner this candidate, and its Lease is how long the others wait when
	// the leader dies. It must not be used for anything else meanwhile.
	Lock *setlock.Lock

	// OnElected is called in the goroutine of Run when this candidate is elected, never
	// twice at a time. Its context carries the fencing token, see
	// [setlock.FenceFromContext], and ends when the leadership does; it must
	// return then. When it returns, whether nil or an error, the leadership is given up,
	// another may go first, and this candidate campaigns again when [Election.Resign]
	// says, but never before one step of BackOff; an error made by [backoff.Permanent]
	// ends Run instead. A
	// panic releases the lock and goes on.
	//
	// nil: the leadership is held until the context of Run ends.
	OnElected func(ctx context.Context) error

	// BackOff makes the pace of a Run: after errors, after a term, and when an attempt
	// finds the lock held while nobody is seen to lead. A leader that is seen resets it,
	// and so does a term, unless OnElected returned an error within a Lease. When it says
	// [backoff.Stop], Run returns the last error. Run resets it before the first use, so
	// BackOff may return the same object each time, but not to two Elections at once.
	//
	// nil: exponential with jitter from 100 ms to 5 s, without limit.
	BackOff func() backoff.BackOff

	// Logger is told of terms and new leaders at Info, and of attempts that
	// failed at Warn, once per change of the error. Its keys are key, owner,
	// leader, fence, err, and held for the length of a term. Its Handler must not
	// block, for it is called between renewals. nil: silent.
	Logger *slog.Logger

	mu       sync.Mutex // guards what follows; never held across I/O
	running  bool
	returned bool                     // a Run has returned, and none runs
	clock    clock.Clock              // of the last Run
	leader   setlock.Holder           // as last seen
	present  Change                   // the last change
	readers  map[chan Change]struct{} // of Changes
	term     *term                    // while OnElected runs
	exchange trouble                  // of the last exchange with Redis
	attempt  trouble                  // of the last attempt to be elected
	trying   bool                     // an attempt is on its way, or the last one has failed
	pushed   bool                     // announcements reach the watch of the last Run
	warned   string                   // the kind of error last logged, "" since a success
}

// Run campaigns, and leads when elected, until ctx ends; it returns nil then,
// after OnElected has returned and the lock is released. It blocks.
//
// An error of Redis never ends it. It returns an error at once if the Lock is
// missing, has no Key or Pool, or has a field out of range, and if a Run of this
// Election runs already; the error that OnElected has made permanent; and when
// BackOff stops, the last error, nil if OnElected had returned that.
func (e *Election) Run(ctx context.Context) error {
	r := &run{Election: e, clock: clock.FromContext(ctx)}
	if err := e.begin(r.clock); err != nil {
		return err
	}
	defer e.end()
	if e.Lock == nil {
		return errNoLock
	}
	if r.pace = e.backOff(); r.pace == nil {
		return errBackOff
	}
	r.pace.Reset() // it may be that of an earlier Run
	defer r.unwatch()
	return r.campaign(seam.WithObserver(ctx, observer{e}))
}

// Resign ends the term that OnElected is in, if there is one: its context ends with the
// cause ErrResigned. Resign does not wait.
//
// The candidate stays a candidate. However soon after the election it resigns, the next leader
// is another candidate if one that reaches Redis waits. Where announcements arrive, the
// hand-over takes a few round trips. Without a new leader, the resigned candidate
// campaigns again after one step of BackOff. While announcements do not reach it, it
// waits for a tenth to a fifth of the Lease if that is longer, because the others look at the lock
// ten to twenty times per Lease. Where announcements can be received but nobody may publish them, it may be the next.
func (e *Election) Resign() {
	e.mu.Lock()
	t := e.term
	e.mu.Unlock()
	if t != nil {
		t.cancel(ErrResigned)
	}
}

// IsLeader reports whether this candidate leads: true only while the context of OnElected
// lives and the lock is trusted, as judged by the clock at the call. It asks nobody and never
// blocks.
func (e *Election) IsLeader() bool {
	e.mu.Lock()
	t := e.term
	e.mu.Unlock()
	return t.leads()
}

// Leader returns who leads, as last seen; the zero Holder when nobody was.
func (e *Election) Leader() setlock.Holder {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.leader
}

// Check returns an error when OnElected still runs tolerance after its context has ended:
// the process should be killed then, for another may lead. It also returns one, with
// the last error, when Redis has not answered as it should, or has refused every
// attempt to be elected, for tolerance, counted from the first that failed. An attempt that
// finds the lock held counts as accepted when a leader is seen. A follower
// asks about once a Lease. Check returns nil while no Run runs.
func (e *Election) Check(tolerance time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.running {
		return nil
	}
	now := e.clock.Now()
	if e.term != nil && !e.term.ended.IsZero() {
		if late := clock.Elapsed(e.term.ended, now); late >= tolerance {
			return fmt.Errorf("election: OnElected still runs %v after its context ended: %w", late.Round(time.Millisecond), context.Cause(e.term.ctx))
		}
	}
	for _, t := range []trouble{e.exchange, e.attempt} {
		if t.err == nil {
			continue
		}
		if silent := clock.Elapsed(t.since, now); silent >= tolerance {
			return fmt.Errorf("election: Redis has not answered for %v: %w", silent.Round(time.Millisecond), t.err)
		}
	}
	return nil
}

func (e *Election) begin(c clock.Clock) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running {
		return errRunning
	}
	e.running, e.returned = true, false
	e.clock, e.exchange, e.attempt, e.warned, e.pushed = c, trouble{}, trouble{}, "", false
	return nil
}

func (e *Election) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running, e.returned = false, true
	for c := range e.readers {
		close(c)
	}
	e.readers = nil
}

func (e *Election) backOff() backoff.BackOff {
	if e.BackOff != nil {
		return e.BackOff()
	}
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second),
		backoff.WithMaxElapsedTime(0),
	)
}

// lease is the Lease of the Lock, the default if it names none.
func (e *Election) lease() time.Duration {
	if e.Lock.Lease == 0 {
		return seam.DefaultLease
	}
	return e.Lock.Lease
}

// owner is what others see of this candidate.
func (e *Election) owner() string {
	if e.Lock.Owner == "" {
		return seam.DefaultOwner()
	}
	return e.Lock.Owner
}
