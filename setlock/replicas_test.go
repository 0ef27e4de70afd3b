package setlock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// replicated returns a primary with n replicas, and a Lock there that wants one of
// them to confirm.
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

func TestReplicaThatIsStopped(t *testing.T) {
	t.Parallel()
	primary, replicas, l := replicated(t, 1)
	replica := replicas[0]
	here := func() bool {
		t.Helper()
		return redistest.Do(t, primary.Dial, "EXISTS", "k") == int64(1)
	}
	called := func(context.Context) error { t.Error("called"); return nil }

	replica.Pause()
	_, err := l.Lock(t.Context(), time.Minute)
	shortfall(t, "Lock", err)
	if here() || l.Fence() != 0 {
		t.Error("an acquisition that was not confirmed stands")
	}
	shortfall(t, "Do", l.Do(t.Context(), called))
	if here() {
		t.Error("a Do that was not confirmed leaves its key")
	}
	other := &setlock.Lock{Key: "k", Pool: l.Pool, Lease: l.Lease}
	mustLock(t, other, time.Minute) // needs nobody
	if err := other.Unlock(t.Context()); err != nil {
		t.Error(err)
	}

	replica.Continue()
	redistest.AwaitReplicas(t, primary.Dial, 1)
	if redistest.Do(t, replica.Dial, "EXISTS", "k") != int64(0) {
		t.Error("what was undone stands on the replica")
	}
	mustLock(t, l, time.Minute)

	replica.Pause()
	shortfall(t, "Renew", l.Renew(t.Context(), 3*time.Second))
	shortfall(t, "Extend", l.Extend(t.Context(), time.Hour))
	if !here() || l.Fence() == 0 {
		t.Error("Renew and Extend that were not confirmed have cost the lock")
	}
	replica.Continue()
	redistest.AwaitReplicas(t, primary.Dial, 1)
	if err := l.Renew(t.Context(), time.Minute); err != nil {
		t.Errorf("Renew with the replica back: %v", err)
	}
	time.Sleep(3 * time.Second) // the one that was not confirmed is not on its way
	if l.Fence() == 0 {
		t.Error("Fence = 0, though a renewal for a minute was confirmed")
	}
	if err := l.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

// A renewal that no replica has confirmed does not count, though the primary has
// made it.
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
			err := l.Do(t.Context(), func(ctx context.Context) error {
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
				// It lives by a renewal that was sent after the last that counted.
				left, err := redis.Int64(redistest.Do(t, primary.Dial, "PTTL", "k"), nil)
				if left := time.Duration(left) * time.Millisecond; err != nil || left < l.Lease/2 {
					t.Errorf("the primary has the key for %v (%v): did it not answer?", left, err)
				}
				return nil
			})
			if !errors.Is(err, setlock.ErrLost) || !strings.Contains(err.Error(), "confirmed by 0 of 1 replicas") {
				t.Errorf("Do = %v, want ErrLost that names the replicas", err)
			}
			called := func(context.Context) error { t.Error("called"); return nil }
			shortfall(t, "the next Do", l.Do(t.Context(), called))
		})
	}
}

// A replica that is away for less than a third of the lease costs nothing, nor does
// one of two for however long.
func TestReplicaAwayShortly(t *testing.T) {
	t.Parallel()
	_, replicas, l := replicated(t, 1)
	err := l.Do(t.Context(), func(ctx context.Context) error {
		for range 3 {
			replicas[0].Pause()
			time.Sleep(l.Lease / 6)
			replicas[0].Continue()
			time.Sleep(l.Lease / 2)
		}
		return context.Cause(ctx)
	})
	if err != nil {
		t.Errorf("Do = %v, want nil", err)
	}
}

func TestOneReplicaOfTwo(t *testing.T) {
	t.Parallel()
	_, replicas, l := replicated(t, 2)
	replicas[0].Pause()
	err := l.Do(t.Context(), func(ctx context.Context) error {
		time.Sleep(l.Lease + l.Lease/6)
		return context.Cause(ctx)
	})
	if err != nil {
		t.Errorf("Do with Replicas 1 = %v, want nil", err)
	}
	both := &setlock.Lock{Key: "k", Pool: l.Pool, Lease: l.Lease, Replicas: 2}
	if _, err := both.Lock(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "confirmed by 1 of 2 replicas") {
		t.Errorf("Lock with Replicas 2 = %v, want the shortfall", err)
	}
}
