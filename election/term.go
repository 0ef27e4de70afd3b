package election

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"example.com/setlock/internal/clock"
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
	stop     func() bool   // keeps noticed from being called
	told     chan struct{} // closed when noticed has returned

	// Guarded by Election.mu.
	ended     time.Time // when ctx ended, as noticed
	announced bool      // Changes has said that the term is over
}

// elected begins a term under ctx, the context of a Do.
func (e *Election) elected(ctx context.Context, fence int64) *term {
	t := &term{election: e, fence: fence, start: e.clock.Now(), told: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	owner := e.owner()
	e.mu.Lock()
	e.term = t
	e.leader = setlock.Holder{Owner: owner, Fence: fence, Remaining: e.lease()}
	e.change(Change{Leader: owner, Leading: true, Fence: fence, Time: t.start})
	e.mu.Unlock()
	t.stop = context.AfterFunc(t.ctx, t.noticed)
	e.log(slog.LevelInfo, "elected", slog.Int64("fence", fence))
	return t
}

// noticed is called when the context of the term has ended and OnElected still
// runs.
func (t *term) noticed() {
	defer close(t.told)
	cause := context.Cause(t.ctx)
	e := t.election
	e.mu.Lock()
	t.ended = e.clock.Now()
	e.mu.Unlock()
	if errors.Is(cause, setlock.ErrLost) {
		t.announce(cause)
	}
}

// over ends the term: OnElected has returned err.
func (t *term) over(err error) {
	if !t.stop() {
		<-t.told
	}
	if cause := context.Cause(t.ctx); cause != nil {
		if err == nil || errors.Is(err, cause) || err == context.Canceled {
			err = cause
		} else {
			err = errors.Join(cause, err)
		}
	}
	t.announce(err)
	t.cancel(nil)
	e := t.election
	e.mu.Lock()
	e.term = nil
	e.mu.Unlock()
}

// announce tells that the term has ended, unless that was told.
func (t *term) announce(err error) {
	e := t.election
	now := e.clock.Now()
	e.mu.Lock()
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
