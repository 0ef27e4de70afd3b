package setlock_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestExtendRenewUnlock(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := locktest.Pair(t, dial)
		ctx := t.Context()
		calls := map[string]func(*setlock.Lock) error{
			"Extend": func(l *setlock.Lock) error { return l.Extend(ctx, time.Minute) },
			"Renew":  func(l *setlock.Lock) error { return l.Renew(ctx, time.Minute) },
			"Unlock": func(l *setlock.Lock) error { return l.Unlock(ctx) },
		}
		for name, call := range calls {
			if err := call(a); err != setlock.ErrNotHeld {
				t.Errorf("%s of a free lock = %v, want ErrNotHeld itself", name, err)
			}
		}

		locktest.MustLock(t, a, time.Minute)
		for name, call := range calls {
			if err := call(b); err != setlock.ErrNotHeld {
				t.Errorf("%s of another's = %v, want ErrNotHeld itself", name, err)
			}
		}
		locktest.Between(t, "another's key after all that", locktest.PTTL(t, dial), 50*time.Second, time.Minute)

		locktest.MustExtend(t, a, time.Minute)
		locktest.Between(t, "remaining after Extend", locktest.PTTL(t, dial), 110*time.Second, 2*time.Minute)
		locktest.MustRenew(t, a, time.Minute)
		locktest.Between(t, "remaining after Renew", locktest.PTTL(t, dial), 50*time.Second, time.Minute)
		redistest.Do(t, dial, "PERSIST", "k")
		locktest.MustExtend(t, a, time.Minute)
		locktest.Between(t, "remaining after Extend of no expiry", locktest.PTTL(t, dial), 50*time.Second, time.Minute)
		locktest.MustUnlock(t, a)
		if locktest.HasKey(t, dial) {
			t.Error("the key exists after Unlock")
		}
		if err := a.Unlock(ctx); err != setlock.ErrNotHeld {
			t.Errorf("second Unlock = %v, want ErrNotHeld itself", err)
		}

		// The hold is lost, and a does not know it.
		for name, call := range calls {
			locktest.MustLock(t, a, time.Minute)
			redistest.Do(t, dial, "DEL", "k")
			locktest.MustLock(t, b, time.Minute)
			if err := call(a); err != setlock.ErrNotHeld {
				t.Errorf("%s after a theft = %v, want ErrNotHeld itself", name, err)
			}
			if got := a.Fence(); got != 0 {
				t.Errorf("%s: Fence after a theft = %d, want 0", name, got)
			}
			locktest.MustUnlock(t, b)
		}
	})
}

func TestExtendAddsAtLeastAMillisecond(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(0)
		locktest.MustLock(t, l, time.Second)
		for range 3 {
			locktest.MustExtend(t, l, 0)
		}
		if got, want := w.Server.TTL("k"), 1003*time.Millisecond; got != want {
			t.Errorf("the key lives %v, want %v", got, want)
		}
	})
}

// Extend gives a key without expiry at least the time for which its holder trusts it.
func TestExtendNeverShortensWhatIsTrusted(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := locktest.Pair(t, dial)
		locktest.MustDo(t, a, func(ctx context.Context) error {
			redistest.Do(t, dial, "PERSIST", "k")
			locktest.MustExtend(t, a, time.Millisecond)
			locktest.Between(t, "remaining under a Do", locktest.PTTL(t, dial), setlock.DefaultLease-time.Second, setlock.DefaultLease)
			time.Sleep(5 * time.Millisecond)
			if _, err := b.Lock(ctx, time.Minute); err != setlock.ErrNotHeld {
				t.Errorf("another's Lock = %v, want ErrNotHeld", err)
			}
			return context.Cause(ctx)
		})
		locktest.MustLock(t, a, time.Hour)
		redistest.Do(t, dial, "PERSIST", "k")
		locktest.MustExtend(t, a, time.Second)
		locktest.Between(t, "remaining of a plain hold", locktest.PTTL(t, dial), time.Hour-time.Minute, time.Hour)
	})
}

func TestExtendWithoutReplyNeverShortensWhatIsTrusted(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l, other := w.Lock(lease), w.Direct(lease)
		locktest.MustLock(t, l, time.Hour)
		locktest.MustExtend(t, l, time.Millisecond) // loads the script
		redistest.Do(t, w.Server.Dial, "PERSIST", "k")
		w.Network.Next(locktest.Sends("extend"), redistest.Break)
		locktest.Fails(t, "Extend on a connection that breaks", l.Extend(t.Context(), time.Millisecond))
		for range 59 {
			time.Sleep(time.Minute)
			if _, err := other.Lock(t.Context(), time.Minute); err == nil && l.Fence() != 0 {
				t.Fatal("another holds the lock, and Fence is not 0")
			}
		}
	})
}

func TestTimesUnderDo(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		locktest.MustDo(t, l, func(ctx context.Context) error {
			locktest.MustRenew(t, l, time.Second)
			if got := w.Server.TTL("k"); got != lease {
				t.Errorf("the key lives %v after a Renew of 1s, want %v", got, lease)
			}
			locktest.MustExtend(t, l, time.Hour)
			if got := w.Server.TTL("k"); got != lease+time.Hour {
				t.Errorf("the key lives %v after an Extend of 1h, want %v", got, lease+time.Hour)
			}
			time.Sleep(lease / 3)
			if got := w.Server.TTL("k"); got > lease {
				t.Errorf("the key lives %v after a renewal, want %v at most", got, lease)
			}
			return ctx.Err()
		})
	})
}

func TestTimesAreSetWhileASessionBegins(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) { // for the race detector
		l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Lease: time.Second}
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 100 {
				if err := l.Do(t.Context(), func(context.Context) error { return nil }); err != nil {
					t.Errorf("Do: %v", err)
				}
			}
		})
		wg.Go(func() {
			for range 200 {
				for _, err := range []error{l.Renew(t.Context(), time.Second), l.Extend(t.Context(), time.Second)} {
					if err != nil && err != setlock.ErrNotHeld {
						t.Errorf("Renew or Extend: %v", err)
					}
				}
				l.Fence()
			}
		})
		wg.Wait()
	})
}

func TestRenewThatNeverWentOutChangesNothing(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.MustLock(t, l, time.Hour)
		w.Disconnect()
		l.Renew(t.Context(), time.Second) // meets the broken connection
		if err := l.Renew(t.Context(), time.Second); err == nil {
			t.Error("Renew = nil through a network that refuses")
		}
	})
}
