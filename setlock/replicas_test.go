package setlock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// replicated returns a primary with n replicas, and a Lock on it that needs one of them to confirm.
func replicated(t *testing.T, n int) (primary *redistest.Server, replicas []*redistest.Server, l *setlock.Lock) {
	t.Helper()
	primary = redistest.NewServer(t)
	for range n {
		replicas = append(replicas, redistest.NewReplica(t, primary.Addr))
	}
	redistest.AwaitReplicas(t, primary.Dial, n)
	return primary, replicas, &setlock.Lock{Key: "k", Pool: redistest.Pool(t, primary.Dial), Lease: 3 * time.Second, Replicas: 1}
}

// shortfall fails t unless err says that no replica has confirmed.
func shortfall(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, setlock.ErrNotHeld) || !strings.Contains(err.Error(), "confirmed by 0 of 1 replicas") {
		t.Errorf("%s = %v, want the shortfall", what, err)
	}
}

func TestReplicasConfirm(t *testing.T) {
	t.Parallel()
	_, replicas, l := replicated(t, 1)
	locktest.MustLock(t, l, time.Minute)
	if !locktest.HasKey(t, replicas[0].Dial) {
		t.Error("acquired, and not on the replica")
	}
	locktest.MustUnlock(t, l)
	locktest.MustDo(t, l, func(ctx context.Context) error {
		time.Sleep(2 * time.Second) // it has renewed; without a replica see TestRenewalsWithoutReplica
		return context.Cause(ctx)
	})
}

func TestReplicasThatDoNotConfirm(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) { // a server without replicas
		l := w.Direct(lease)
		l.Replicas = 1
		_, err := l.Lock(t.Context(), time.Minute)
		shortfall(t, "Lock", err)
		if w.Server.Exists("k") {
			t.Error("an acquisition that was not confirmed remains")
		}
		shortfall(t, "Do", l.Do(t.Context(), locktest.NotCalled(t)))
	})
}

func TestReplicaThatIsStopped(t *testing.T) {
	t.Parallel()
	primary, replicas, l := replicated(t, 1)
	replica := replicas[0]
	here := func() bool { return locktest.HasKey(t, primary.Dial) }

	replica.Pause()
	_, err := l.Lock(t.Context(), time.Minute)
	shortfall(t, "Lock", err)
	if here() || l.Fence() != 0 {
		t.Error("an acquisition that was not confirmed remains")
	}
	shortfall(t, "Do", l.Do(t.Context(), locktest.NotCalled(t)))
	if here() {
		t.Error("a Do that was not confirmed leaves its key")
	}
	other := &setlock.Lock{Key: "k", Pool: l.Pool, Lease: l.Lease}
	locktest.MustLock(t, other, time.Minute) // needs nobody
	locktest.MustUnlock(t, other)

	replica.Continue()
	redistest.AwaitReplicas(t, primary.Dial, 1)
	if locktest.HasKey(t, replica.Dial) {
		t.Error("what was undone remains on the replica")
	}
	locktest.MustLock(t, l, time.Minute)

	replica.Pause()
	shortfall(t, "Renew", l.Renew(t.Context(), 3*time.Second))
	shortfall(t, "Extend", l.Extend(t.Context(), time.Hour))
	if !here() || l.Fence() == 0 {
		t.Error("Renew and Extend that were not confirmed have cost the lock")
	}
	replica.Continue()
	redistest.AwaitReplicas(t, primary.Dial, 1)
	locktest.MustRenew(t, l, time.Minute)
	time.Sleep(3 * time.Second) // the one that was not confirmed is not on its way
	if l.Fence() == 0 {
		t.Error("Fence = 0, though a renewal for a minute was confirmed")
	}
	locktest.MustUnlock(t, l)
}

// A renewal that no replica has confirmed does not count, though the primary has made it.
func TestRenewalsWithoutReplica(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(t *testing.T, replica *redistest.Server){
		"stopped":      func(_ *testing.T, replica *redistest.Server) { replica.Pause() },
		"killed":       func(_ *testing.T, replica *redistest.Server) { replica.Kill() },
		"none is left": func(t *testing.T, replica *redistest.Server) { redistest.Do(t, replica.Dial, "REPLICAOF", "NO", "ONE") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary, replicas, l := replicated(t, 1)
			err := locktest.MustLose(t, l, func(ctx context.Context) error {
				time.Sleep(l.Lease / 2) // it has renewed
				if ctx.Err() != nil {
					t.Fatalf("lost with its replica: %v", context.Cause(ctx))
				}
				start := time.Now()
				fault(t, replicas[0])
				select {
				case <-ctx.Done():
				case <-time.After(2 * l.Lease):
				}
				if lost := time.Since(start); lost > l.Lease*3/2 { // half a lease for a busy machine
					t.Errorf("told after %v, want less than the lease", lost)
				}
				// The trust has ended, and more than half of the lease is left: the primary has made a
				// renewal that did not count.
				if left := locktest.PTTL(t, primary.Dial); left < l.Lease/2 {
					t.Errorf("the primary has the key for %v: did it not answer?", left)
				}
				return nil
			})
			// Redis gives up a WAIT up to a tenth of a second late, and a busy machine later
			// than that. No attempt may have been long enough for the answer.
			if !errors.Is(err, context.DeadlineExceeded) {
				shortfall(t, "Do", err)
			}
			if err := l.Do(t.Context(), locktest.NotCalled(t)); !errors.Is(err, context.DeadlineExceeded) {
				shortfall(t, "the next Do", err)
			}
		})
	}
}

// A replica that is away for less than a third of the lease costs nothing.
func TestReplicaAwayShortly(t *testing.T) {
	t.Parallel()
	_, replicas, l := replicated(t, 1)
	locktest.MustDo(t, l, func(ctx context.Context) error {
		for range 3 {
			replicas[0].Pause()
			time.Sleep(l.Lease / 6)
			replicas[0].Continue()
			time.Sleep(l.Lease / 2)
		}
		return context.Cause(ctx)
	})
}

// One replica of two that is away costs nothing, for however long.
func TestOneReplicaOfTwo(t *testing.T) {
	t.Parallel()
	_, replicas, l := replicated(t, 2)
	replicas[0].Pause()
	locktest.MustDo(t, l, func(ctx context.Context) error {
		time.Sleep(l.Lease + l.Lease/6)
		return context.Cause(ctx)
	})
	both := &setlock.Lock{Key: "k", Pool: l.Pool, Lease: l.Lease, Replicas: 2}
	if _, err := both.Lock(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "confirmed by 1 of 2 replicas") {
		t.Errorf("Lock with Replicas 2 = %v, want the shortfall", err)
	}
}
