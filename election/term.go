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

// A term is one leadership of this candidate, from its election until OnElected has returned.
type term struct {
	election *Election
	fence    int64
	start    time.Time
	ctx      context.Context // the context of OnElected
	cancel   context.CancelCauseFunc
	stop     func() bool    // prevents the call of noticeEnd at the end of the parent of ctx, or returns false
	noticing sync.WaitGroup // done when that call has returned or was prevented

	// Guarded by Election.mu:
	ended time.Time // when noticeEnd found that ctx had ended; zero before
	told  bool      // the readers of Changes know that the term has ended
}

// A loss is the loss of the hold with the given fence, and its reason. After the end of a term it is
// why the context of OnElected had ended, which may be no loss.
type loss struct {
	fence int64
	err   error
}

// beginTerm begins a term. ctx is the context that Do gives to its function.
func (e *Election) beginTerm(ctx context.Context, fence int64) *term {
	t := &term{election: e, fence: fence, start: e.clock.Now()}
	t.ctx, t.cancel = context.WithCancelCause(ctx)
	t.noticing.Add(1)
	t.stop = context.AfterFunc(ctx, func() {
		defer t.noticing.Done()
		t.cancel(context.Cause(ctx)) // ctx may end a moment before t.ctx does
		t.noticeEnd()
	})
	if early := e.enterTerm(t); early.err != nil && early.fence == fence {
		t.tellEnd(early.err, false, false) // the lock was lost before the term began
	}
	return t
}

// logStart logs that the term has begun.
func (t *term) logStart() {
	t.election.log(slog.LevelInfo, "elected", slog.Int64("fence", t.fence))
}

// enterTerm records t and sends the change to the readers. It returns the last loss that was
// reported while there was no term.
func (e *Election) enterTerm(t *term) loss {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.term, e.seen = t, momentOf(t.start)
	e.counters.terms++
	e.leader = setlock.Holder{Owner: e.owner(), Fence: t.fence, Remaining: e.lease()}
	e.changes.tell(Change{Leader: e.owner(), Leading: true, Fence: t.fence, Time: t.start})
	early := e.loss
	e.loss = loss{}
	return early
}

// lost reports the loss of the hold with the given fence at once, while OnElected still runs, and
// even if the context of OnElected had ended for another reason. A loss may also be found when the
// term is over, because the key was taken before it was released.
func (e *Election) lost(fence int64, err error) {
	t, late := e.termOf(loss{fence, err})
	switch {
	case t != nil:
		t.tellEnd(err, false, false)
	case late:
		e.tellLate("lock lost before its release", fence, err)
	}
}

// termOf returns the present term if l is its loss. Otherwise it reports whether l is the loss of the
// last term and was not reported.
//
// Do may lose the lock before its function has begun the term. Then the loss would not be reported,
// so termOf keeps l for the term that is about to begin.
func (e *Election) termOf(l loss) (t *term, late bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.term != nil && e.term.fence == l.fence:
		return e.term, false
	case e.loss.fence == l.fence:
		return nil, e.loss.err != l.err
	case e.term == nil:
		e.loss = l
	}
	return nil, false
}

// leads reports whether this candidate leads now, in the term t. It returns false if t is nil.
func (t *term) leads() bool {
	return t != nil && t.ctx.Err() == nil && t.election.Lock.Fence() == t.fence
}

// noticeEnd records when the context of OnElected has ended, while OnElected still runs.
func (t *term) noticeEnd() {
	t.election.mu.Lock()
	defer t.election.mu.Unlock()
	if t.ended.IsZero() {
		t.ended = t.election.clock.Now()
	}
}

// end ends the term after OnElected has returned, with the error own beside the end of its context.
func (t *term) end(own error) {
	cause := context.Cause(t.ctx)
	t.cancel(context.Canceled)
	if t.stop() {
		t.noticing.Done()
	}
	t.noticing.Wait()
	t.count(cause, own)
	err := cause
	switch {
	case cause == nil:
		err = own
	case own != nil:
		err = errors.Join(cause, own)
	}
	if !t.tellEnd(err, own != nil, true) && own != nil {
		// The loss was reported at once, and OnElected has failed since.
		t.election.tellLate("OnElected failed after the loss", t.fence, own)
	}
}

// tellEnd reports that the term has ended because of err. It returns false if the end was reported
// before. failed is true if OnElected has failed. over is true if OnElected has returned.
func (t *term) tellEnd(err error, failed, over bool) bool {
	now := t.election.clock.Now()
	if !t.noteEnd(Change{Err: err, Time: now}, over) {
		return false
	}
	level := slog.LevelInfo
	if failed || errors.Is(err, setlock.ErrLost) {
		level = slog.LevelWarn
	}
	t.election.log(level, "leadership ended",
		slog.Int64("fence", t.fence), slog.Duration("held", clock.Elapsed(t.start, now)), slog.Any("err", err))
	return true
}

// tellLate reports err of the term with the given fence, whose end was reported before.
func (e *Election) tellLate(msg string, fence int64, err error) {
	e.noteLate(err)
	e.log(slog.LevelWarn, msg, slog.Int64("fence", fence), slog.Any("err", err))
}

// noteLate sends err to the readers of Changes.
func (e *Election) noteLate(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes.tell(Change{Err: err, Time: e.clock.Now()})
}

// noteEnd records the end of the term and sends c to the readers. It returns false if the end was
// reported before.
func (t *term) noteEnd(c Change, over bool) bool {
	e := t.election
	e.mu.Lock()
	defer e.mu.Unlock()
	if over {
		e.term, e.loss = nil, loss{t.fence, context.Cause(t.ctx)}
	}
	if t.told {
		return false
	}
	t.told = true
	e.leader = setlock.Holder{}
	e.changes.tell(c)
	return true
}
