package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/setlock/internal/compare/peer"
	"example.com/setlock/internal/compare/report"
)

// stopServers stops both servers while f runs.
func (b *Bench) stopServers(f func()) (err error) {
	defer func() { err = errors.Join(err, b.Redis.Continue(), b.Etcd.Continue()) }()
	if err := errors.Join(b.Redis.Stop(), b.Etcd.Stop()); err != nil {
		return err
	}
	f()
	return nil
}

// stopUnder measures the margin of holders whose server is stopped, all at once.
func (b *Bench) stopUnder(ctx context.Context, peers []peer.Peer, round int) error {
	var trials []*trial
	for _, p := range peers {
		for range b.Size.Losses {
			trials = append(trials, &trial{b: b, p: p, round: round, id: lossID(report.ServerStopped, p)})
		}
	}
	defer each(trials, (*trial).close)
	var mu sync.Mutex
	free := make(map[*trial]time.Time)
	writes := make(map[*trial]int64)
	each(trials, func(t *trial) {
		if err := t.acquire(ctx); err != nil && ctx.Err() == nil {
			t.void(err)
			return
		}
		anyPhase(ctx, b.Size.LossLease)
	})
	each(trials, func(t *trial) {
		if t.hold == nil {
			return
		}
		before := t.holder.network.Writes()
		at, err := t.expiry(ctx)
		if err != nil {
			t.void(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		free[t], writes[t] = at, before
	})
	return errors.Join(b.stopServers(func() {
		each(trials, func(t *trial) {
			at, ok := free[t]
			if !ok {
				return
			}
			if t.holder.network.Writes() != writes[t] {
				// A renewal may have come between the look at the key and the stop. So the expiry
				// is not known.
				t.void(errors.New("the lock was just renewed"))
				return
			}
			t.await(ctx, at)
		})
	}), context.Cause(ctx))
}

// each calls f for all trials at once.
func each(trials []*trial, f func(*trial)) {
	var wg sync.WaitGroup
	for _, t := range trials {
		wg.Go(func() { f(t) })
	}
	wg.Wait()
}

// stopped measures how long an acquisition with a timeout takes while the server is
// stopped.
func (b *Bench) stopped(ctx context.Context, round int) error {
	b.log("round %d: stopped", round+1)
	var calls []*call
	var wg sync.WaitGroup // the calls, which may return only when their network is cut
	defer func() {
		var processes []*process
		for _, c := range calls {
			c.q.network.Cut()
			processes = append(processes, c.q)
		}
		closeAll(processes)
		wg.Wait()
	}()
	for _, p := range b.peersOf(report.Stopped, round) {
		for range b.Size.Calls {
			id := report.ID{Scenario: report.Stopped, Case: report.TimeoutOf(callTimeout), Metric: report.Time, Peer: p.Name}
			q, err := b.open(p, b.Size.LossLease)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			// Connections exist now, and scripts are loaded.
			h, err := q.acquireFree(ctx, b.key())
			if err != nil {
				b.log("%s, %s: %s: void: %v", id.Scenario, id.Case, id.Peer, err)
				q.client.Close()
				continue
			}
			h.Release()
			calls = append(calls, &call{id: id, q: q})
		}
	}
	return errors.Join(b.stopServers(func() {
		var waits sync.WaitGroup
		for _, c := range calls {
			key := b.key()
			done := make(chan time.Duration, 1)
			wg.Go(func() { done <- c.run(key) })
			waits.Go(func() {
				select {
				case took := <-done:
					b.Results.Add(c.id, round, ms(took))
				case <-time.After(b.Size.Patience):
					b.Results.AddNever(c.id, false)
				}
			})
		}
		waits.Wait()
	}), context.Cause(ctx))
}

// A call is an acquisition on a stopped server.
type call struct {
	id report.ID
	q  *process
}

// run returns how long the acquisition took.
func (c *call) run(key string) time.Duration {
	ctx, end := context.WithTimeout(context.Background(), callTimeout)
	defer end()
	from := time.Now()
	h, err := c.q.client.Acquire(ctx, key)
	took := time.Since(from)
	if err == nil {
		h.Release()
	}
	return took
}
