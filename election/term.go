package election

import (
	"context"
	"errors"
	"log/slog"
	"sync"
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
	stop     func() bool    // keeps noticeEnd from being called
	noticing sync.WaitGroup // noticeEnd, when it is to run or runs

	// Guarded by Election.mu:
	ended time.Time // when ctx ended, as noticed
	told  bool      // Changes has told that the term is over
}

// A loss is that of a hold.
type loss struct {
	fence int64
	err   error
}

// beginTerm begins a term under ctx, the context of a Do.
func (e *Election) beginTerm(ctx context.Context, fence int64) *term {
	t := &term{election: e, fence: fence, start: e.clock.Now()}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	t.noticing.Add(1)
	t.stop = context.AfterFunc(t.ctx, t.noticeEnd)
	if early := e.enterTerm(t); early.fence == fence {
		t.tellEnd(early.err, false) // the lock was lost before there was a term
	}
	return t
}

// enterTerm tells of t. It returns the last loss that no term was told of.
func (e *Election) enterTerm(t *term) loss {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.term = t
	e.leader = setlock.Holder{Owner: e.owner(), Fence: t.fence, Remaining: e.lease()}
	e.changes.tell(Change{Leader: e.owner(), Leading: true, Fence: t.fence, Time: t.start})
	early := e.loss
	e.loss = loss{}
	return early
}

// lost tells of the loss of the hold with this fence at once, while OnElected still runs, and also when
// its context had ended for another reason.
func (e *Election) lost(fence int64, err error) {
	if t := e.termOrLoss(loss{fence, err}); t != nil && t.fence == fence {
		t.tellEnd(err, false)
	}
}

// termOrLoss returns the term. Without one it keeps l for the term that may be about to begin.
func (e *Election) termOrLoss(l loss) *term {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.term == nil {
		e.loss = l
	}
	return e.term
}

// leads reports whether the term is one in which this candidate leads, now. It returns
// false for nil.
func (t *term) leads() bool {
	return t != nil && t.ctx.Err() == nil && t.election.Lock.Fence() == t.fence
}

// noticeEnd is called when the context of OnElected has ended, which still runs.
func (t *term) noticeEnd() {
	defer t.noticing.Done()
	t.election.mu.Lock()
	defer t.election.mu.Unlock()
	t.ended = t.election.clock.Now()
}

// end ends the term: OnElected has returned err.
func (t *term) end(err error) {
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
	t.tellEnd(err, true)
}

// tellEnd tells that the term has ended because of err, unless that was told. over says whether
// OnElected has returned.
func (t *term) tellEnd(err error, over bool) {
	now := t.election.clock.Now()
	if t.noteEnd(Change{Err: err, Time: now}, over) {
		t.election.log(slog.LevelInfo, "leadership ended",
			slog.Int64("fence", t.fence), slog.Duration("held", clock.Elapsed(t.start, now)), slog.Any("err", err))
	}
}

// noteEnd tells readers of c, the end of the term. It returns false if that was told.
func (t *term) noteEnd(c Change, over bool) bool {
	e := t.election
	e.mu.Lock()
	defer e.mu.Unlock()
	if over {
		e.term = nil
	}
	if t.told {
		return false
	}
	t.told = true
	e.leader = setlock.Holder{}
	e.changes.tell(c)
	return true
}
