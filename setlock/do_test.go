package setlock_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/clock/clocktest"
	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestDoRunsAndReleases(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := locktest.Pair(t, dial)
		failure := errors.New("failure")
		for _, want := range []error{nil, failure} {
			err := a.Do(t.Context(), func(ctx context.Context) error {
				fence, ok := setlock.FenceFromContext(ctx)
				if !ok || fence == 0 || fence != a.Fence() {
					t.Errorf("FenceFromContext = %d, %v, want Fence, %d", fence, ok, a.Fence())
				}
				if _, err := b.Lock(ctx, time.Minute); err != setlock.ErrNotHeld {
					t.Errorf("another's Lock = %v, want ErrNotHeld", err)
				}
				if err := b.Do(ctx, locktest.NotCalled(t)); err != setlock.ErrNotHeld {
					t.Errorf("another's Do = %v, want ErrNotHeld itself", err)
				}
				if err := a.Do(ctx, locktest.NotCalled(t)); err != setlock.ErrAlreadyHeld {
					t.Errorf("Do within Do = %v, want ErrAlreadyHeld itself", err)
				}
				left, err := a.Lock(ctx, time.Minute)
				if left <= 0 || err != setlock.ErrAlreadyHeld {
					t.Errorf("Lock within Do = %v, %v, want the remaining time, ErrAlreadyHeld", left, err)
				}
				return want
			})
			if err != want {
				t.Errorf("Do = %v, want what its function returned, %v", err, want)
			}
			if locktest.HasKey(t, dial) {
				t.Error("the key exists after Do")
			}
			if got := a.Fence(); got != 0 {
				t.Errorf("Fence after Do = %d, want 0", got)
			}
		}
	})
}

func TestGoroutinesShareALock(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Lease: time.Second}
		var wg sync.WaitGroup
		var working, runs atomic.Int64
		for range 4 {
			wg.Go(func() {
				for range 200 {
					err := l.Do(t.Context(), func(context.Context) error {
						runs.Add(1)
						if working.Add(1) != 1 {
							t.Error("two functions run under one Lock")
						}
						defer working.Add(-1)
						return nil
					})
					if err != nil && err != setlock.ErrAlreadyHeld {
						t.Errorf("Do = %v, want nil or ErrAlreadyHeld", err)
					}
				}
			})
		}
		wg.Wait()
		if runs.Load() == 0 {
			t.Error("no function ever ran")
		}
	})
}

func TestCallerLeavesAndWorkGoesOn(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l, other := w.Lock(lease), w.Direct(lease)
		ctx, cancel := context.WithCancel(t.Context())
		why := errors.New("why")
		err := l.Do(ctx, func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			for range 50 { // ten leases of not listening
				time.Sleep(lease / 5)
				if _, err := other.Lock(t.Context(), time.Second); err != setlock.ErrNotHeld {
					t.Fatalf("another's Lock while the function runs = %v", err)
				}
				if l.Fence() == 0 {
					t.Fatal("Fence = 0 while the function runs")
				}
			}
			return why
		})
		if err != why {
			t.Errorf("Do = %v, want the function's error alone", err)
		}
		locktest.MustLock(t, other, time.Second)
	})
}

func TestPanicAndGoexitReleaseAndGoOn(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		func() {
			defer func() {
				if r := recover(); r != "why" {
					t.Errorf("recovered %v, want why", r)
				}
			}()
			l.Do(t.Context(), func(context.Context) error { panic("why") })
		}()
		if w.Server.Exists("k") {
			t.Error("the key exists after a panic")
		}
		done := make(chan bool)
		go func() {
			returned := false
			defer func() { done <- returned }()
			l.Do(t.Context(), func(context.Context) error { runtime.Goexit(); return nil })
			returned = true
		}()
		if <-done {
			t.Error("Do swallowed a Goexit")
		}
		if w.Server.Exists("k") {
			t.Error("the key exists after a Goexit")
		}
	})
}

func TestAcquisitionIsBounded(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.LoadScripts(t, l)
		w.Network.Set(redistest.Silent)
		start := time.Now()
		if err := l.Do(t.Context(), locktest.NotCalled(t)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do = %v, want a timeout", err)
		}
		locktest.Between(t, "Do without an answer", time.Since(start), lease/3, lease/3+20*time.Millisecond)
		time.Sleep(3 * time.Second)
		w.Network.Set(redistest.Faults{})
		time.Sleep(time.Second)
		if w.Server.Exists("k") {
			t.Error("the acquisition remains")
		}
	})
}

func TestLateAcquisitionDoesNotCount(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.LoadScripts(t, l)
		w.Network.Set(redistest.Faults{HoldReplies: true})
		fake := clocktest.New()
		time.AfterFunc(time.Second, func() {
			fake.Suspend(lease) // with the reply on its way
			w.Network.Set(redistest.Faults{})
		})
		err := l.Do(clock.NewContext(t.Context(), fake), locktest.NotCalled(t))
		if err == nil || err == setlock.ErrNotHeld || !strings.Contains(err.Error(), "too late") {
			t.Errorf("Do = %v, want an error that says that the reply was late", err)
		}
		if w.Server.Exists("k") {
			t.Error("the late acquisition remains")
		}
	})
}
