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

// loss measures the margin: the time from the moment when a holder is told that it must
// stop, until another may hold the lock. If it is negative, two hold the lock for that
// long.
func (b *Bench) loss(ctx context.Context, round int) error {
	peers := b.peersOf(report.Loss, round)
	for _, name := range report.Faults() {
		for _, p := range peers {
			b.Results.Expect(lossID(name, p))
		}
	}
	b.log("round %d: loss, %s", round+1, report.ServerStopped)
	if err := b.stopUnder(ctx, peers, round); err != nil {
		return err
	}
	b.log("round %d: loss, the other faults", round+1)
	var wg sync.WaitGroup
	for _, f := range faults {
		for _, p := range peers {
			for range b.Size.Losses {
				wg.Go(func() {
					t := &trial{b: b, p: p, round: round, id: lossID(f.name, p)}
					if err := t.run(ctx, f); err != nil && ctx.Err() == nil {
						t.void(err)
					}
				})
			}
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

func lossID(fault string, p peer.Peer) report.ID {
	return report.ID{Scenario: report.Loss, Case: fault, Metric: report.Margin, Peer: p.Name}
}

// A fault ends a hold. Its strike returns when another may hold the lock.
type fault struct {
	name   string
	strike func(context.Context, *trial) (time.Time, error)
}

var faults = []fault{
	{report.ConnectionsCut, func(ctx context.Context, t *trial) (time.Time, error) {
		t.holder.network.Cut()
		return t.expiry(ctx)
	}},
	{report.PacketsVanish, func(ctx context.Context, t *trial) (time.Time, error) {
		t.holder.network.Silence()
		return t.expiry(ctx)
	}},
	{report.KeyDeleted, func(_ context.Context, t *trial) (time.Time, error) {
		at := time.Now()
		return at, t.hold.Delete()
	}},
	{report.KeyTaken, func(ctx context.Context, t *trial) (time.Time, error) { return t.take(ctx) }},
}

// A trial is one hold that is lost.
type trial struct {
	b     *Bench
	p     peer.Peer
	id    report.ID
	round int

	key    string
	holder *process
	other  *process
	hold   *peer.Hold
	next   *peer.Hold // of the other, or nil
}

// acquire opens two processes. The first holds the lock.
func (t *trial) acquire(ctx context.Context) (err error) {
	lease := t.b.Size.LossLease
	t.key = t.b.key()
	if t.holder, err = t.b.open(t.p, lease); err != nil {
		return err
	}
	if t.other, err = t.b.open(t.p, lease); err != nil {
		return err
	}
	t.hold, err = t.holder.acquireFree(ctx, t.key)
	return err
}

// close ends all that the trial has started. It cuts the network of the holder first,
// so that nothing waits for a reply that does not come.
func (t *trial) close() {
	if t.holder != nil {
		t.holder.network.Cut()
	}
	for _, h := range []*peer.Hold{t.hold, t.next} {
		if h != nil {
			h.Release()
		}
	}
	closeAll([]*process{t.holder, t.other})
}

func (t *trial) run(ctx context.Context, f fault) error {
	defer t.close()
	pause(ctx, rand.N(300*time.Millisecond)) // so that the trials do not meet
	if err := t.acquire(ctx); err != nil {
		return err
	}
	anyPhase(ctx, t.b.Size.LossLease)
	select {
	case <-t.hold.Lost:
		return errors.New("the lock was lost before the fault")
	default:
	}
	free, err := f.strike(ctx, t)
	if err != nil {
		return err
	}
	t.await(ctx, free)
	return nil
}

// void logs why the trial counts for nothing.
func (t *trial) void(why error) {
	t.b.log("%s, %s: %s: void: %v", t.id.Scenario, t.id.Case, t.p.Name, why)
}

// expiry returns when the key expires. A renewal that was sent before the fault has
// arrived by then.
func (t *trial) expiry(ctx context.Context) (time.Time, error) {
	pause(ctx, 3*time.Millisecond)
	at, err := t.hold.Expiry()
	if err == nil && at.IsZero() {
		err = errors.New("the holder had no key before the fault")
	}
	return at, err
}

// take deletes the key and lets the other process acquire it at once.
func (t *trial) take(ctx context.Context) (time.Time, error) {
	ctx, end := context.WithTimeout(ctx, t.limit())
	defer end()
	if err := t.hold.Delete(); err != nil {
		return time.Time{}, err
	}
	var err error
	t.next, err = t.other.client.Acquire(ctx, t.key)
	return time.Now(), err
}

func (t *trial) limit() time.Duration { return time.Duration(t.b.Size.Limit) * t.b.Size.LossLease }

// await waits until the holder is told, and adds the margin before free.
func (t *trial) await(ctx context.Context, free time.Time) {
	late := time.NewTimer(t.limit())
	defer late.Stop()
	select {
	case <-t.hold.Lost:
		t.b.Results.Add(t.id, t.round, ms(free.Round(0).Sub(time.Now().Round(0))))
	case <-late.C:
		t.b.Results.AddNever(t.id, t.regained())
	case <-ctx.Done():
	}
}

// regained reports whether the holder has its deleted key again.
func (t *trial) regained() bool {
	if t.id.Case != report.KeyDeleted {
		return false
	}
	at, err := t.hold.Expiry()
	return err == nil && time.Now().Before(at)
}
