package setlock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// What becomes of an acquisition whose reply never comes.

// warm loads the scripts and dials a connection.
func warm(t *testing.T, l *setlock.Lock) {
	t.Helper()
	mustLock(t, l, time.Second)
	if err := l.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLostReplyIsAdopted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l, other := w.lock(lease), w.direct(lease)
		warm(t, l)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		// The acquisition arrives, nothing that could undo it does.
		w.network.Set(redistest.Faults{LoseReplies: true})
		go func() {
			time.Sleep(time.Second - time.Millisecond)
			w.network.Set(redistest.Silent)
		}()
		if _, err := l.Lock(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock = %v, want a timeout", err)
		}
		time.Sleep(10 * time.Second)
		w.network.Reset()
		w.network.Set(redistest.Faults{})
		if _, err := other.Lock(t.Context(), time.Minute); err != setlock.ErrNotHeld {
			t.Fatalf("another's Lock = %v, want ErrNotHeld: the acquisition should stand", err)
		}
		orphan, _ := other.Holder(t.Context())
		if l.Fence() != 0 {
			t.Error("Fence believes an acquisition without a reply")
		}
		mustLock(t, l, 2*time.Minute)
		h, err := other.Holder(t.Context())
		if err != nil || h.Fence != l.Fence() || h.Fence <= orphan.Fence {
			t.Errorf("Holder = %+v, %v, want our fence %d, more than the orphan's %d", h, err, l.Fence(), orphan.Fence)
		}
		if got := w.server.TTL("k"); got != 2*time.Minute {
			t.Errorf("the key lives %v, want 2m", got)
		}
		if err := l.Unlock(t.Context()); err != nil {
			t.Errorf("Unlock: %v", err)
		}
	})
}

func TestUnlockReleasesAnAcquisitionWithoutReply(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		warm(t, l)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w.network.Set(redistest.Faults{LoseReplies: true})
		go func() {
			time.Sleep(time.Second - time.Millisecond)
			w.network.Set(redistest.Silent)
		}()
		l.Lock(ctx, time.Minute)
		time.Sleep(10 * time.Second)
		w.network.Reset()
		w.network.Set(redistest.Faults{})
		if !w.server.Exists("k") {
			t.Fatal("the acquisition does not stand")
		}
		if err := l.Unlock(t.Context()); err != nil {
			t.Errorf("Unlock: %v", err)
		}
		if w.server.Exists("k") {
			t.Error("the key exists after Unlock")
		}
		if err := l.Unlock(t.Context()); err != setlock.ErrNotHeld {
			t.Errorf("second Unlock = %v, want ErrNotHeld", err)
		}
	})
}

func TestInterruptedAcquisitionIsUndone(t *testing.T) {
	for name, faults := range map[string]redistest.Faults{
		"replies lost":            {LoseReplies: true},
		"replies held":            {HoldReplies: true},
		"requests held":           {HoldRequests: true},
		"on its connection alone": {HoldRequests: true, Refuse: true},
		"silent":                  redistest.Silent,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				l := w.lock(lease)
				warm(t, l)
				w.network.Set(faults)
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				start := time.Now()
				if _, err := l.Lock(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Lock = %v, want a timeout", err)
				}
				between(t, "Lock returned after", time.Since(start), 300*time.Millisecond, 320*time.Millisecond)
				time.Sleep(3 * time.Second)
				// What was held arrives, also from connections that were given up.
				w.network.Set(redistest.Faults{})
				synctest.Wait()
				if w.server.Exists("k") {
					t.Error("an acquisition that nobody waits for stands")
				}
			})
		})
	}
}

func TestBrokenAcquisitionIsUndone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		warm(t, l)
		w.network.Set(redistest.Faults{HoldReplies: true})
		go func() {
			time.Sleep(time.Second)
			w.network.Set(redistest.Faults{LoseReplies: true})
			w.network.Reset()
			w.network.Set(redistest.Faults{})
		}()
		if _, err := l.Lock(t.Context(), time.Minute); err == nil || err == setlock.ErrNotHeld {
			t.Errorf("Lock = %v, want an error that is no sentinel", err)
		}
		if w.server.Exists("k") {
			t.Error("an acquisition whose connection broke stands")
		}
	})
}

func TestReleaseThatFailsIsAdopted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		if err := l.Do(t.Context(), func(context.Context) error {
			w.network.Set(redistest.Faults{Refuse: true})
			w.network.Reset()
			return nil
		}); err != nil {
			t.Errorf("Do = %v, want nil: the lock was not lost", err)
		}
		w.network.Set(redistest.Faults{})
		if !w.server.Exists("k") {
			t.Fatal("released through a network that refuses")
		}
		mustLock(t, l, time.Minute)
	})
}

func TestWaitingForATurnObeysTheContext(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		w.network.Set(redistest.Silent)
		first := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := l.Lock(ctx, time.Second)
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := l.Lock(ctx, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock = %v, want a timeout", err)
		}
		between(t, "Lock returned after", time.Since(start), time.Second, time.Second)
		<-first
	})
}

func TestReplicasThatDoNotConfirm(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) { // a server without replicas
		l := w.direct(lease)
		l.Replicas = 1
		if _, err := l.Lock(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "confirmed by 0 of 1 replicas") {
			t.Errorf("Lock = %v, want the shortfall", err)
		}
		if w.server.Exists("k") {
			t.Error("an acquisition that was not confirmed stands")
		}
		called := func(context.Context) error { t.Error("called"); return nil }
		if err := l.Do(t.Context(), called); err == nil || !strings.Contains(err.Error(), "replicas") {
			t.Errorf("Do = %v, want the shortfall", err)
		}
	})
}

func TestReplicasConfirm(t *testing.T) {
	t.Parallel()
	primary := redistest.NewServer(t)
	replica := redistest.NewReplica(t, primary.Addr)
	redistest.AwaitReplicas(t, primary.Dial, 1)
	l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, primary.Dial), Lease: 3 * time.Second, Replicas: 1}
	mustLock(t, l, time.Minute)
	if redistest.Do(t, replica.Dial, "EXISTS", "k") != int64(1) {
		t.Error("acquired, and not on the replica")
	}
	if err := l.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	err := l.Do(t.Context(), func(ctx context.Context) error {
		time.Sleep(2 * time.Second) // it has renewed; without a replica see TestRenewalsWithoutReplica
		return context.Cause(ctx)
	})
	if err != nil {
		t.Errorf("Do = %v, want nil", err)
	}
}

// A stopped Redis: what is promised of a call with a context, on a real one.
func TestStoppedServer(t *testing.T) {
	s := redistest.NewServer(t)
	l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, s.Dial), Lease: time.Second}
	warm(t, l)
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := l.Lock(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Lock = %v, want a timeout", err)
	}
	s.Continue()
	// The server runs what it was sent: the acquisition and, behind it, its undoing.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		h, err := l.Holder(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if h.Nobody() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("an acquisition that nobody waits for stands")
		}
	}
}
