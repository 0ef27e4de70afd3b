package scenario

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/setlock/internal/compare/peer"
	"example.com/setlock/internal/compare/report"
)

// crashMargin is the time beyond the lease after which a waiter that has acquired
// nothing counts as failed.
const crashMargin = 20 * time.Second

// crash measures the time from the expiry of the key of a process that has died until a
// waiter holds the lock.
func (b *Bench) crash(ctx context.Context, round int) error {
	var wg sync.WaitGroup
	for _, p := range b.peersOf(report.Crash, round) {
		b.log("round %d: crash: %s", round+1, p.Name)
		id := report.ID{Scenario: report.Crash, Case: report.Lease(b.Size.CrashLease), Metric: report.Time, Peer: p.Name}
		for range b.Size.Crashes {
			wg.Go(func() {
				v, err := b.crashOnce(ctx, p)
				switch {
				case ctx.Err() != nil:
				case err != nil:
					b.failed(id, err)
				default:
					b.Results.Add(id, round, ms(v))
				}
			})
		}
		if !b.Size.Together {
			wg.Wait()
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

// crashOnce returns the time of one crash.
func (b *Bench) crashOnce(ctx context.Context, p peer.Peer) (time.Duration, error) {
	lease, key := b.Size.CrashLease, b.key()
	pause(ctx, rand.N(300*time.Millisecond)) // so that the trials of one peer do not meet
	holder, err := b.open(p, lease)
	if err != nil {
		return 0, err
	}
	waiter, err := b.open(p, lease)
	if err != nil {
		holder.client.Close()
		return 0, err
	}
	defer closeAll([]*process{holder, waiter})
	h, err := holder.acquireFree(ctx, key)
	if err != nil {
		return 0, err
	}
	defer h.Release()

	wait, end := context.WithTimeout(ctx, 2*lease+lease+crashMargin)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	var acquired time.Time
	var failure error
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		next, err := waiter.client.Acquire(wait, key)
		if err != nil {
			failure = err
			return
		}
		acquired = time.Now()
		next.Release()
	})
	anyPhase(ctx, lease)
	holder.network.Cut()
	pause(ctx, 3*time.Millisecond) // a renewal that was sent before arrives now
	expiry, err := h.Expiry()
	if err != nil {
		return 0, err
	}
	if expiry.IsZero() {
		return 0, errors.New("the holder had no key when it died")
	}
	<-done
	if failure != nil {
		return 0, failure
	}
	return acquired.Round(0).Sub(expiry), nil
}
