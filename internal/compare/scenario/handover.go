package scenario

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/setlock/internal/compare/peer"
	"example.com/setlock/internal/compare/report"
)

// handOver measures the time from the start of a release until the next waiter holds
// the lock.
func (b *Bench) handOver(ctx context.Context, round int) error {
	for _, waiters := range b.Size.Waiters {
		name := report.Count(waiters, "waiter")
		for _, p := range b.peersOf(report.HandOver, round) {
			b.log("round %d: hand-over, %s: %s", round+1, name, p.Name)
			id := report.ID{Scenario: report.HandOver, Case: name, Metric: report.Time, Peer: p.Name}
			values, err := b.ring(ctx, p, waiters)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			b.Results.Add(id, round, values...)
			if err != nil {
				b.failed(id, err)
			}
		}
	}
	return nil
}

// A ring is a set of processes that pass one lock around.
type ring struct {
	key  string
	peer peer.Peer
	hold time.Duration // the least
	stop context.CancelFunc
	want int // how many values

	mu       sync.Mutex
	warm     int           // hand-overs that are not counted yet
	released time.Time     // start of the last release
	values   []float64     // ms
	next     chan struct{} // closed by the next acquisition
}

// ring lets one process more than waiters pass a lock around, as often as the size of
// the run allows.
func (b *Bench) ring(ctx context.Context, p peer.Peer, waiters int) ([]float64, error) {
	hold := max(p.Park, time.Duration(5+waiters/10)*time.Millisecond)
	about := hold + p.Poll
	r := &ring{
		key:  b.key(),
		peer: p,
		hold: hold,
		want: min(b.Size.Turns, max(3, int(b.Size.HandOver/about))),
		warm: 2,
		next: make(chan struct{}),
	}
	ctx, r.stop = context.WithTimeout(ctx, 20*time.Second+4*time.Duration(r.want)*about)
	defer r.stop()
	processes := make([]*process, waiters+1)
	defer closeAll(processes)
	for i := range processes {
		var err error
		if processes[i], err = b.open(p, handOverLease); err != nil {
			return nil, err
		}
	}
	var wg sync.WaitGroup
	for _, q := range processes {
		wg.Go(func() {
			for r.turn(ctx, q.client) {
			}
		})
	}
	wg.Wait()
	if n := len(r.values); n < r.want {
		return r.values, fmt.Errorf("the ring stopped after %d of %d hand-overs", n, r.want)
	}
	return r.values, nil
}

// turn acquires the lock, holds it and releases it. It returns when the next process
// holds the lock, so that nobody gets the lock back at once. It reports whether the ring
// goes on.
func (r *ring) turn(ctx context.Context, c peer.Client) bool {
	h, err := c.Acquire(ctx, r.key)
	if err != nil {
		return false
	}
	next, more := r.acquired(time.Now())
	if !more {
		r.stop()
		h.Release()
		return false
	}
	// The hold is random over the pause of those that poll, so that the release meets them
	// at a random phase.
	pause(ctx, r.hold+rand.N(r.peer.Poll+time.Millisecond))
	r.mu.Lock()
	r.released = time.Now()
	r.mu.Unlock()
	h.Release()
	select {
	case <-next:
		return true
	case <-ctx.Done():
		return false
	}
}

// acquired notes an acquisition. It returns what the next acquisition closes, and
// whether more values are needed.
func (r *ring) acquired(now time.Time) (<-chan struct{}, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.released.IsZero() || len(r.values) == r.want:
	case r.warm > 0:
		r.warm--
	default:
		r.values = append(r.values, ms(now.Sub(r.released)))
	}
	close(r.next)
	r.next = make(chan struct{})
	return r.next, len(r.values) < r.want
}
