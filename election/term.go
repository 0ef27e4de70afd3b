package election

import (
	"context"
	"errors"
	"log/slog"
	"sync"
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
	stop     func() bool     // keeps noticed from being called
	noticing sync.WaitGroup  // noticed, when it is to run or runs

	// Guarded by Election.mu.
	ended     time.Time // when ctx ended, as noticed
	announced bool      // Changes has said that the term is over
}

// elected begins a term under ctx, the context of a Do.
func (e *Election) elected(ctx context.Context, fence int64) *term {
	t := &term{election: e, fence: fence, start: e.clock.Now(), ctx: ctx}
	owner := e.owner()
	e.mu.Lock()
	e.term = t
	e.leader = setlock.Holder{Owner: owner, Fence: fence, Remaining: e.lease()}
	e.change(Change{Leader: owner, Leading: true, Fence: fence, Time: t.start})
	e.mu.Unlock()
	t.noticing.Add(1)
	t.stop = context.AfterFunc(ctx, t.noticed)
	if lost := seam.TermOf(ctx).Lost(); lost != nil { // before there was a term to tell
		t.announce(lost, false)
	}
	return t
}

// An observer hears from the Lock of an Election.
type observer struct{ *Election }

// Lost tells of a loss at once, also after the context of OnElected has ended for
// another reason, while OnElected still runs.
func (o observer) Lost(fence int64, err error) {
	o.mu.Lock()
	t := o.term
	o.mu.Unlock()
	if t != nil && t.fence == fence {
		t.announce(err, false)
	}
}

// Pushed is told whether announcements reach the watch.
func (o observer) Pushed(up bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pushed = up
}

// hears reports whether announcements reach the watch.
func (e *Election) hears() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pushed
}

// leads reports whether the term is one in which this candidate leads, now. It is
// false for nil.
func (t *term) leads() bool {
	return t != nil && t.ctx.Err() == nil && t.election.Lock.Fence() == t.fence
}

// noticed is called when the context of OnElected has ended, which still runs.
func (t *term) noticed() {
	defer t.noticing.Done()
	e := t.election
	e.mu.Lock()
	defer e.mu.Unlock()
	t.ended = e.clock.Now()
}

// over ends the term: OnElected has returned err.
func (t *term) over(err error) {
	cause := context.Cause(t.ctx)
	t.cancel(context.Canceled)
	if t.stop() {
		t.noticing.Done()
	}
	t.noticing.Wait()
	switch {
	case cause == nil:
	case err == nil || errors.Is(err, cause) || err == context.Canceled:
		err = cause
	default:
		err = errors.Join(cause, err)
	}
	t.announce(err, true)
}

// cancel ends the context of OnElected.
func (t *term) cancel(cause error) { seam.TermOf(t.ctx).Cancel(cause) }

// announce tells that the term has ended, unless that was told; over says
// whether OnElected has returned.
func (t *term) announce(err error, over bool) {
	e := t.election
	e.mu.Lock()
	now := e.clock.Now()
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
