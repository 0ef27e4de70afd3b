package setlock_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestLockFree(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		for _, test := range []struct {
			d        time.Duration
			min, max int64 // milliseconds
		}{
			{time.Minute, 59_000, 60_000},
			{1500 * time.Microsecond, 0, 2},
			{time.Nanosecond, 0, 1},
			{0, 0, 1},
			{-time.Hour, 0, 1},
		} {
			l := &setlock.Lock{Key: fmt.Sprintf("k:%v", test.d), Pool: redistest.Pool(t, dial)}
			if left, err := l.Lock(t.Context(), test.d); left != 0 || err != nil {
				t.Errorf("Lock(%v) = %v, %v, want 0, nil", test.d, left, err)
			}
			pttl, _ := redis.Int64(redistest.Do(t, dial, "PTTL", l.Key), nil)
			if pttl != -2 && (pttl < test.min || pttl > test.max) {
				t.Errorf("after Lock(%v) PTTL = %d, want %d to %d", test.d, pttl, test.min, test.max)
			}
		}
	})
}

func TestLockRoundsUp(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(0)
		for d, want := range map[time.Duration]time.Duration{
			0:                       time.Millisecond,
			time.Nanosecond:         time.Millisecond,
			1500 * time.Microsecond: 2 * time.Millisecond,
			2 * time.Millisecond:    2 * time.Millisecond,
		} {
			locktest.MustLock(t, l, d)
			if got := w.Server.TTL("k"); got != want {
				t.Errorf("Lock(%v): the key lives %v, want %v", d, got, want)
			}
			locktest.MustUnlock(t, l)
		}
	})
}

func TestLockHeld(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := locktest.Pair(t, dial)
		locktest.MustLock(t, a, time.Minute)
		before, _ := redis.String(redistest.Do(t, dial, "GET", "k"), nil)

		left, err := b.Lock(t.Context(), time.Hour)
		if err != setlock.ErrNotHeld {
			t.Errorf("Lock of another's = %v, want ErrNotHeld itself", err)
		}
		locktest.Between(t, "remaining time of another's", left, 50*time.Second, time.Minute)

		left, err = a.Lock(t.Context(), time.Hour)
		if err != setlock.ErrAlreadyHeld {
			t.Errorf("Lock of our own = %v, want ErrAlreadyHeld itself", err)
		}
		locktest.Between(t, "remaining time of our own", left, 50*time.Second, time.Minute)

		if after, _ := redis.String(redistest.Do(t, dial, "GET", "k"), nil); after != before {
			t.Errorf("the key changed from %q to %q", before, after)
		}

		redistest.Do(t, dial, "PERSIST", "k")
		if left, err := b.Lock(t.Context(), time.Hour); left >= 0 || err != setlock.ErrNotHeld {
			t.Errorf("Lock of a key without expiry = %v, %v, want a negative duration, ErrNotHeld", left, err)
		}
		if left, err := a.Lock(t.Context(), time.Hour); left >= 0 || err != setlock.ErrAlreadyHeld {
			t.Errorf("Lock of our key without expiry = %v, %v, want a negative duration, ErrAlreadyHeld", left, err)
		}
	})
}

func TestRemainingTimeIsNeverZero(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(0), w.Direct(0)
		locktest.MustLock(t, a, 10*time.Millisecond)
		time.Sleep(10*time.Millisecond - 300*time.Microsecond) // less than a millisecond is left
		if left, err := b.Lock(t.Context(), time.Second); left != time.Millisecond || err != setlock.ErrNotHeld {
			t.Errorf("Lock = %v, %v, want 1ms, ErrNotHeld", left, err)
		}
		if left, err := a.Lock(t.Context(), time.Second); left != time.Millisecond || err != setlock.ErrAlreadyHeld {
			t.Errorf("Lock = %v, %v, want 1ms, ErrAlreadyHeld", left, err)
		}
		if h, err := b.Holder(t.Context()); h.Remaining != time.Millisecond || err != nil {
			t.Errorf("Holder = %+v, %v, want 1ms remaining", h, err)
		}
	})
}

func TestOwnerIsALabel(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := locktest.Pair(t, dial)
		b.Owner = a.Owner
		locktest.MustLock(t, a, time.Minute)
		if _, err := b.Lock(t.Context(), time.Minute); err != setlock.ErrNotHeld {
			t.Errorf("Lock = %v, want ErrNotHeld", err)
		}
		if err := b.Unlock(t.Context()); err != setlock.ErrNotHeld {
			t.Errorf("Unlock = %v, want ErrNotHeld", err)
		}
		h, err := b.Holder(t.Context())
		if err != nil || h.Owner != "a" || h.Fence != a.Fence() || h.Fence == 0 {
			t.Errorf("Holder = %+v, %v, want a with its fence %d", h, err, a.Fence())
		}
		locktest.Between(t, "Remaining", h.Remaining, 50*time.Second, time.Minute)
	})
}

func TestLongTimes(t *testing.T) {
	dial := redistest.NewServer(t).Dial // the embedded one counts in nanoseconds
	a, b := locktest.Pair(t, dial)
	locktest.MustLock(t, a, math.MaxInt64)
	if a.Fence() == 0 {
		t.Error("Fence = 0")
	}
	if left, err := b.Lock(t.Context(), time.Second); left < math.MaxInt64/2 || err != setlock.ErrNotHeld {
		t.Errorf("Lock = %v, %v, want a long time, ErrNotHeld", left, err)
	}
	locktest.MustExtend(t, a, time.Hour)
	locktest.MustRenew(t, a, math.MaxInt64)
	if h, err := b.Holder(t.Context()); h.Remaining < math.MaxInt64/2 || err != nil {
		t.Errorf("Holder = %+v, %v", h, err)
	}
}

func TestScriptsAreLoadedAgain(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, _ := locktest.Pair(t, dial)
		for range 2 {
			locktest.MustLock(t, a, time.Minute)
			redistest.Do(t, dial, "SCRIPT", "FLUSH")
			locktest.MustExtend(t, a, time.Minute)
			redistest.Do(t, dial, "SCRIPT", "FLUSH")
			locktest.MustUnlock(t, a)
			redistest.Do(t, dial, "SCRIPT", "FLUSH")
		}
	})
}

func TestWaitingForATurnObeysTheContext(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		w.Network.Set(redistest.Silent)
		first := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := l.Lock(ctx, time.Second)
			first <- err
		}()
		synctest.Wait()
		took := locktest.TimesOut(t, time.Second, locktest.Acquires(l, time.Second))
		locktest.Between(t, "Lock returned after", took, time.Second, time.Second)
		<-first
	})
}
