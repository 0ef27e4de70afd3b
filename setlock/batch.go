package setlock

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/trace"
	"example.com/setlock/internal/wire"
)

const (
	// mostAhead bounds the number of renewals in a batch that takes along renewals which are
	// not due yet.
	mostAhead = 128
	// fullBatch is the largest number of renewals in a batch while connections are free.
	fullBatch = 2048
	// mostDoublings bounds takeAlong. With so many, it takes along all that is due within
	// lease.renewInterval.
	mostDoublings = 4
	// parts is the number of batches into which a batch without any answer is divided when its
	// connection breaks. So a renewal that breaks every connection is soon alone.
	parts = 4
	// maxBatches is the largest number of batches under way, and so of connections.
	maxBatches = 16
)

var (
	errNoReply = errors.New("runtime.Goexit in the Pool's Dial or TestOnBorrow")
	errRoom    = errors.New("no reply, and its connection was needed for other renewals")
)

// A batch is a number of renewals that are sent together. Its fields are guarded by
// renewer.mu, except for those that do not change.
type batch struct {
	renewals []*renewal // does not change
	answered []bool     // by index: the renewal has its result
	some     bool       // one of answered is true
	deadline time.Duration
	hangs    time.Duration // from when on the batch counts as hanging
	start    time.Duration
	broken   bool // its connection broke without an answer, and others did not
	over     bool // what comes now does not count any more
	cancel   context.CancelCauseFunc
	done     chan struct{} // closed when the batch has ended
}

// calmBatch returns how many renewals a batch may have that takes along renewals which are not
// due yet: as many as fall due within lease.ahead on average. With more, batches would grow
// from interval to interval, and the requests of a Pool would come in bursts.
func (r *renewer) calmBatch() int {
	const part = 3.0 / 40 // lease.ahead by lease.renewInterval
	return min(int(part*float64(len(r.queue)))+1, mostAhead)
}

// takeAlong adds renewals that are not due yet to those that are ready. With each batch that
// hangs, it takes along twice as many. So while connections hang, few more are needed.
func (r *renewer) takeAlong(at time.Duration, now time.Time) {
	hanging := 0
	for _, b := range r.batches {
		if b.hangs <= at {
			hanging++
		}
	}
	factor := 1 << min(hanging, mostDoublings)
	for len(r.ready) > 0 && len(r.ready) < factor*r.calmBatch() && len(r.queue) > 0 {
		e := r.queue[0].renewal
		if e.state != idle || e.due > at+time.Duration(factor)*e.remote.lease.ahead() {
			return
		}
		r.makeReady(e, false, now)
	}
}

// send sends the renewals that are ready, while there is room for batches.
func (r *renewer) send(at time.Duration) {
	r.ready = slices.DeleteFunc(r.ready, func(e *renewal) bool { return e.state != ready })
	for len(r.ready) > 0 && r.makeRoom(at) {
		r.launch(r.nextBatch(), at)
	}
}

// makeRoom reports whether one more batch may be sent. At the bound, it gives up the oldest
// batch if that hangs.
func (r *renewer) makeRoom(at time.Duration) bool {
	if len(r.batches) == maxBatches && r.roomAt(at) <= at {
		r.giveUp(r.batches[0], errRoom)
	}
	return len(r.batches) < maxBatches
}

// roomAt returns when the oldest batch counts as hanging, for the renewals that are ready.
func (r *renewer) roomAt(at time.Duration) time.Duration {
	if len(r.batches) < maxBatches {
		return at
	}
	return r.batches[0].start + r.urgent().remote.lease.ahead()
}

// urgent returns the renewal with the shortest lease of those that are ready.
func (r *renewer) urgent() *renewal {
	return slices.MinFunc(r.ready, func(a, b *renewal) int { return cmp.Compare(a.remote.lease, b.remote.lease) })
}

// nextBatch takes a batch from the renewals that are ready, those with short leases first. The
// fewer connections are free, the larger the batch is.
func (r *renewer) nextBatch() []*renewal {
	free := maxBatches - len(r.batches)
	size := max(fullBatch, (len(r.ready)+free-1)/free)
	first := r.urgent().group()
	var batch, others []*renewal
	for _, e := range r.ready {
		if len(batch) < size && e.group() == first {
			batch = append(batch, e)
		} else {
			others = append(others, e)
		}
	}
	r.ready = others
	return batch
}

// launch sends a batch.
func (r *renewer) launch(renewals []*renewal, at time.Duration) {
	if renewals[0].schedule.failing {
		// One of the renewals may break every connection. Those behind it must not be the
		// same ones each time.
		rand.Shuffle(len(renewals), func(i, j int) { renewals[i], renewals[j] = renewals[j], renewals[i] })
	}
	b := &batch{renewals: renewals, answered: make([]bool, len(renewals)), start: at, done: make(chan struct{})}
	least := renewals[0].remote.lease
	for _, e := range renewals {
		e.state = sent
		least = min(least, e.remote.lease)
	}
	b.deadline, b.hangs = at+least.renewTimeout(), at+least.ahead()
	pool := r.pool
	if renewals[0].schedule.outside {
		pool = r.spare
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	b.cancel = cancel
	r.batches = append(r.batches, b)
	r.running[b] = true
	go func() { // joined by close, unless it is stuck
		defer close(b.done)
		fate, err := wire.NotSent, errNoReply // replaced below, unless Dial or TestOnBorrow calls runtime.Goexit
		defer func() { r.ended(b, fate, err) }()
		now := r.clock.Now()
		commands, both := make([]protocol.Command, len(renewals)), make([]bool, len(renewals))
		for i, e := range renewals {
			commands[i], both[i] = e.remote.renewal(e.hold, now, time.Duration(e.remote.lease))
		}
		fate, err = wire.DoAll(ctx, pool, wire.Batch{
			Commands: commands,
			Replicas: renewals[0].remote.replicas,
			Wait:     least.confirmTimeout(),
			Answered: func(i int, result wire.Result) { r.answer(b, i, both[i], result) },
		})
	}()
}

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
		trace.Called(e.ctx, now, nil)
	}
	switch {
	case err == nil && !mine:
		trace.Renewed(e.ctx, 0, errTaken)
	case err == nil && late == nil:
		trace.Renewed(e.ctx, now.Sub(result.Sent), nil)
	}
	if err == nil && mine && both {
		e.hold.fenceKey.set(result.Sent.Sub(e.hold.acquired), time.Duration(e.remote.lease))
	}
	if !mine {
		e.taken()
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
	e.calls.Go(func() {
		trace.Called(e.ctx, now, err)
		trace.Renewed(e.ctx, 0, err)
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
