package setlock

import (
	"math/rand/v2"
	"slices"
	"time"

	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/wire"
)

// This file has what becomes of the renewals of a batch.

// answer records the result of the renewal with index i in b. both is true if the renewal
// was one of the fence key, too.
func (r *renewer) answer(b *batch, i int, both bool, result wire.Result) {
	e := b.renewals[i]
	mine, err := true, result.Err
	if err == nil {
		mine, err = protocol.ParseRenew(result.Reply)
	}
	if wire.AnsweredWith(err, "WRONGTYPE") {
		mine = false
	}
	now := r.clock.Now()
	ok, late := r.settle(b, i, mine, err, result.Sent, now)
	if !ok {
		return
	}
	defer e.calls.Done()
	if err == nil {
		e.trace.Called(now, nil)
	}
	switch {
	case err == nil && !mine:
		e.trace.Renewed(0, errTaken)
	case err == nil && late == nil:
		e.trace.Renewed(now.Sub(result.Sent), nil)
	}
	if err == nil && mine && both {
		e.hold.fenceKey.set(result.Sent.Sub(e.hold.acquired), time.Duration(e.remote.lease))
	}
	if !mine {
		e.session.taken()
	}
}

// settle records the result of a renewal. It returns false if the result does not count any
// more. Otherwise the caller must call Done on the calls of the renewal. late is non-nil when
// the reply came too late.
func (r *renewer) settle(b *batch, i int, mine bool, err error, sent, now time.Time) (ok bool, late error) {
	e := b.renewals[i]
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.over || e.state == over {
		return false, nil
	}
	b.answered[i], b.some, r.answered = true, true, now.Sub(r.start)
	e.calls.Add(1)
	if err == nil && mine {
		if late = e.renewed(sent, now); late != nil {
			err = late
		}
	}
	switch {
	case !mine:
		r.forget(e)
		if err != nil {
			e.report(now, err)
		}
	case err != nil:
		e.suspect = false // Redis has answered
		r.failed(e, b, err, now)
	default:
		r.counted(e, b, sent, now)
	}
	return true, late
}

// counted records a renewal of e, in b, that counts.
func (r *renewer) counted(e *renewal, b *batch, sent, now time.Time) {
	at := now.Sub(r.start)
	e.state, e.suspect, e.part = idle, false, 0
	if !e.extra || e.schedule.failing || e.due <= at {
		var early, pause time.Duration
		if !e.schedule.spreads(e.extra) {
			early = r.spread(e, b)
		}
		e.schedule, pause = e.schedule.counted(now.Sub(sent), e.extra)
		e.due = at + max(pause-early, 0)
	}
	if e.again {
		e.again = false
		r.makeReady(e, true, now)
		r.wake.set()
		return
	}
	r.move(e, now)
}

// spread returns how much earlier than it is due the next renewal of e comes. It is 0 unless
// too many renewals were due together, in b. The next time they are spread over the time in
// which as many are due on average.
func (r *renewer) spread(e *renewal, b *batch) time.Duration {
	if len(b.renewals) <= r.calmBatch() {
		return 0
	}
	part := min(float64(len(b.renewals))/float64(len(r.queue)), 1)
	return rand.N(time.Duration(part*float64(e.remote.lease.renewInterval())) + 1)
}

// failed records that the renewal of e in b failed because of err. Renewals that fail at about
// the same time are due again together.
func (r *renewer) failed(e *renewal, b *batch, err error, now time.Time) {
	at := now.Sub(r.start)
	e.failure(err)
	e.report(now, err)
	var pause time.Duration
	e.schedule, pause = e.schedule.failed()
	retry := &r.retry[e.remote.lease.class()]
	if *retry <= at || *retry > at+e.remote.lease.retryInterval() {
		*retry = at + pause
	}
	e.state, e.again, e.due = idle, false, *retry
	r.move(e, now)
}

// report reports to a trace that a renewal failed at now. It does so in a goroutine of its
// own, because a trace may block for long in a function of the user.
func (e *renewal) report(now time.Time, err error) {
	if !e.trace.On() {
		return
	}
	e.calls.Go(func() {
		e.trace.Called(now, err)
		e.trace.Renewed(0, err)
	})
}

// giveUp ends b because of cause, and its renewals without a result fail. It does not wait
// for the end of the goroutine, which may be stuck in Dial.
func (r *renewer) giveUp(b *batch, cause error) {
	b.over = true
	r.batches = slices.DeleteFunc(r.batches, func(other *batch) bool { return other == b })
	b.cancel(cause)
	now := r.clock.Now()
	suspect := r.suspects(b)
	for i, e := range b.renewals {
		if b.answered[i] || e.state == over {
			continue
		}
		e.suspect, suspect = suspect, false
		e.part = 0
		if b.broken {
			e.part = i * parts / len(b.renewals)
		}
		r.failed(e, b, cause, now)
	}
}

// suspects reports whether the first renewal of b without an answer may be the reason why b
// has failed, and so is to be retried alone. While Redis answers nothing at all, this is done
// with one renewal at a time, because it costs a connection.
func (r *renewer) suspects(b *batch) bool {
	isSuspect := func(e entry) bool { return e.renewal.suspect }
	return len(b.renewals) > 1 && (b.some || r.answered > b.start || !slices.ContainsFunc(r.queue, isSuspect))
}

// ended records that the goroutine of b ends, because of err or with all replies. fate is that
// of the renewals without an answer.
func (r *renewer) ended(b *batch, fate wire.Fate, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, b)
	if !b.over {
		// When all connections break together, no renewal is the reason.
		b.broken = !b.some && fate == wire.Unknown && (r.answered > b.start || len(r.batches) == 1)
		r.giveUp(b, err)
	}
	b.cancel(nil)
	if len(r.ready) > 0 {
		r.wake.set()
	}
}
