package setlock

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/setlock/internal/protocol"
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
	// manyBatches is the number of batches under way from which on batches become larger, so
	// that they do not become more. A slow Redis needs fewer connections then.
	manyBatches = maxBatches / 2
	// maxBatches is the largest number of batches under way, and so of connections.
	maxBatches = 16
	// joinFor is how long renewer.close waits for batches that are interrupted.
	joinFor = 5 * time.Millisecond
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
	calm := int(part*float64(len(r.queue))) + 1
	if len(r.batches) < manyBatches {
		calm = min(calm, mostAhead)
	}
	return calm
}

// takeAlong adds renewals that are not due yet to those that are ready. With each batch that
// hangs beyond manyBatches, it takes along twice as many. So while connections hang, few more
// are needed. It takes along none that was renewed less than half of a renewal interval ago: it
// would be sent again and again.
func (r *renewer) takeAlong(at time.Duration, now time.Time) {
	hanging := 0
	for _, b := range r.batches {
		if b.hangs <= at {
			hanging++
		}
	}
	factor := 1 << min(max(hanging-manyBatches, 0), mostDoublings)
	for len(r.ready) > 0 && len(r.ready) < factor*r.calmBatch() && len(r.queue) > 0 {
		e := r.queue[0].renewal
		ahead := e.remote.lease.ahead()
		if e.due > at+ahead && e.age(now) < e.remote.lease.renewInterval()/2 {
			ahead = 0
		}
		if e.state != idle || e.due > at+time.Duration(factor)*ahead {
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
	size := fullBatch
	if free <= maxBatches-manyBatches {
		size = len(r.ready)
	}
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
