package election

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/seam"
	"example.com/setlock/setlock"
)

// A term is the time from the election of this candidate until its OnElected has
// returned.
type term struct {
	election *Election
	fence    int64
	start    time.Time
	ctx      context.Context // of OnElected
	cancel   context.CancelCauseFunc
	watches  []*notice

	// Guarded by Election.mu.
	ended     time.Time // when ctx ended, as noticed
	announced bool      // Changes has said that the term is over
}

// A notice calls a function when a context has ended, unless it is stopped.
type notice struct {
	stop func() bool
	done chan struct{} // closed when the function has returned
}

func notify(ctx context.Context, f func()) *notice {
	n := &notice{done: make(chan struct{})}
	n.stop = context.AfterFunc(ctx, func() {
		defer close(n.done)
		f()
	})
	return n
}

// join stops n, or waits for its function.
func (n *notice) join() {
	if !n.stop() {
		<-n.done
	}
}

// elected begins a term under ctx, the context of a Do.
func (e *Election) elected(ctx context.Context, fence int64) *term {
	t := &term{election: e, fence: fence, start: e.clock.Now()}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	owner := e.owner()
	e.mu.Lock()
	e.term = t
	e.leader = setlock.Holder{Owner: owner, Fence: fence, Remaining: e.lease()}
	e.change(Change{Leader: owner, Leading: true, Fence: fence, Time: t.start})
	e.mu.Unlock()
	// The lock can be lost after the context has ended for another reason, while
	// OnElected still runs.
	lock := seam.Term(ctx)
	t.watches = []*notice{
		notify(t.ctx, t.noticed),
		notify(lock, func() {
			if cause := context.Cause(lock); errors.Is(cause, setlock.ErrLost) {
				t.announce(cause, false)
			}
		}),
	}
	return t
}

// leads reports whether the term is one in which this candidate leads, now. It is
// false for nil.
func (t *term) leads() bool {
	return t != nil && t.ctx.Err() == nil && t.election.Lock.Fence() == t.fence
}

// noticed is called when the context of OnElected has ended, which still runs.
func (t *term) noticed() {
	e := t.election
	e.mu.Lock()
	defer e.mu.Unlock()
	t.ended = e.clock.Now()
}

// over ends the term: OnElected has returned err.
func (t *term) over(err error) {
	cause := context.Cause(t.ctx)
	t.cancel(nil)
	for _, n := range t.watches {
		n.join()
	}
	switch {
	case cause == nil:
	case err == nil || errors.Is(err, cause) || err == context.Canceled:
		err = cause
	default:
		err = errors.Join(cause, err)
	}
	t.announce(err, true)
}

// announce tells that the term has ended, unless that was told; over says
// whether OnElected has returned.
func (t *term) announce(err error, over bool) {
	e := t.election
	now := e.clock.Now()
	e.mu.Lock()
	if over {
		e.term = nil
	}
	announced := t.announced
	if !announced {
		t.announced = true
		e.leader = setlock.Holder{}
		e.change(Change{Err: err, Time: now})
	}
	e.mu.Unlock()
	if !announced {
		e.log(slog.LevelInfo, "leadership ended",
			slog.Int64("fence", t.fence), slog.Duration("held", clock.Elapsed(t.start, now)), slog.Any("err", err))
	}
}
