package election

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/trace"
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
	returned bool           // a Run has returned, and none runs
	clock    clock.Clock    // of the last Run
	leader   setlock.Holder // as last seen
	changes  changes
	term     *term // non-nil while OnElected runs
	loss     loss  // the last one that no term was told of
	health   health
	pushed   bool // announcements reach the watch of the last Run
}

// Run campaigns, and leads when elected, until ctx ends; it returns nil then,
// after OnElected has returned and the lock is released. It blocks.
//
// An error of Redis never ends it. It returns an error at once if the Lock is
// missing, has no Key or Pool, or has a field out of range, and if a Run of this
// Election runs already; the error that OnElected has made permanent; and when
// BackOff stops, the last error, nil if OnElected had returned that.
func (e *Election) Run(ctx context.Context) error {
	if err := e.begin(clock.FromContext(ctx)); err != nil {
		return err
	}
	defer e.end()
	if e.Lock == nil {
		return errNoLock
	}
	pace := e.backOff()
	if pace == nil {
		return errBackOff
	}
	pace.Reset() // it may be that of an earlier Run
	c := &campaign{election: e, lock: e.Lock, lease: e.lease(), clock: e.clock, pace: pace}
	defer c.unwatch()
	return c.run(trace.NewContext(ctx, &trace.Trace{
		Called: func(at time.Time, err error) {
			e.note(err, func(h health) health { return h.called(err, at) })
		},
		Lost:   e.lost,
		Pushed: e.setPushed,
	}))
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
	return e.health.check(now, tolerance)
}

// note changes the health after something that ended with err, and logs err if it is news.
func (e *Election) note(err error, after func(health) health) {
	if e.setHealth(err, after) {
		e.log(slog.LevelWarn, "attempt failed", slog.Any("err", err))
	}
}

// setHealth changes the health. It reports whether err is to be logged: not after Run
// has returned, when the helper that undoes an acquisition may still run.
func (e *Election) setHealth(err error, after func(health) health) (warn bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.health, warn = after(e.health).warns(err)
	return warn && e.running
}

// setPushed notes whether announcements reach the watch.
func (e *Election) setPushed(up bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pushed = up
}

// hears reports whether announcements reach the watch.
func (e *Election) hears() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pushed
}

func (e *Election) begin(c clock.Clock) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running {
		return errRunning
	}
	e.running, e.returned = true, false
	e.clock, e.health, e.pushed = c, health{}, false
	return nil
}

func (e *Election) end() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running, e.returned = false, true
	e.changes.close()
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
func (e *Election) lease() time.Duration { return cmp.Or(e.Lock.Lease, setlock.DefaultLease) }

// owner is what others see of this candidate.
func (e *Election) owner() string { return cmp.Or(e.Lock.Owner, protocol.DefaultOwner()) }

// log logs with the keys that every record has.
func (e *Election) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if e.Logger == nil {
		return
	}
	attrs = append([]slog.Attr{slog.String("key", e.Lock.Key), slog.String("owner", e.owner())}, attrs...)
	e.Logger.LogAttrs(context.Background(), level, msg, attrs...)
}
