package setlock_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestFencesIncrease(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := locktest.Pair(t, dial)
		last := int64(0)
		next := func(what string, l *setlock.Lock) {
			t.Helper()
			locktest.MustLock(t, l, time.Minute)
			if got := l.Fence(); got <= last {
				t.Errorf("%s: fence %d after %d", what, got, last)
			} else {
				last = got
			}
			locktest.MustUnlock(t, l)
			if got := l.Fence(); got != 0 {
				t.Errorf("%s: Fence after Unlock = %d, want 0", what, got)
			}
		}
		next("first", a)
		next("another", b)
		next("the first again", a)
		time.Sleep(time.Millisecond)
		redistest.Do(t, dial, "FLUSHALL")
		next("after FLUSHALL", a)
		// The clock of the server was an hour ahead when it wrote the fence key.
		ahead := last + time.Hour.Microseconds()
		redistest.Do(t, dial, "SET", "{k}:fence", ahead)
		next("after the server's clock stepped back", b)
		if last != ahead+1 {
			t.Errorf("fence %d, want one more than the fence before, %d", last, ahead)
		}
	})
}

// The fence key lives two hours longer than the lock key when it is set, and always at least one.
func TestFenceKeyOutlivesTheLockByAnHour(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(0)
		want := func(what string, d time.Duration) {
			t.Helper()
			if got := w.Server.TTL("{k}:fence"); got != d {
				t.Errorf("%s: the fence key lives %v, want %v", what, got, d)
			}
		}
		locktest.MustLock(t, l, time.Minute)
		want("acquired", 2*time.Hour+time.Minute)
		locktest.MustExtend(t, l, time.Minute)
		want("extended", 2*time.Hour+2*time.Minute)
		locktest.MustRenew(t, l, time.Hour+2*time.Minute)
		want("renewed, and an hour is left", 2*time.Hour+2*time.Minute)
		locktest.MustRenew(t, l, time.Hour+3*time.Minute)
		want("renewed, and less than an hour was left", 3*time.Hour+3*time.Minute)
		locktest.MustRenew(t, l, time.Second)
		want("renewed for less", 3*time.Hour+3*time.Minute)

		w.Server.Set("{k}:fence", "somebody else's")
		locktest.MustRenew(t, l, 24*time.Hour)
		want("not ours any more", 0)
	})
}

// A session sets the remaining time of the fence key once an hour, so that the key is always there.
func TestSessionRenewsTheFenceKeyHourly(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		const lease = 5 * time.Minute
		both := 0
		w.Server.Answer(func(_ *server.Peer, args []string) bool {
			if args[1] == "2" {
				both++
			}
			return false
		}, "renew")
		locktest.MustDo(t, w.Direct(lease), func(ctx context.Context) error {
			for range 10 * 60 {
				time.Sleep(time.Minute)
				if fence, lock := w.Server.TTL("{k}:fence"), w.Server.TTL("k"); fence < lock+time.Hour {
					t.Fatalf("the fence key lives %v, and the lock key %v", fence, lock)
				}
			}
			return ctx.Err()
		})
		if both < 8 || both > 10 {
			t.Errorf("the fence key was renewed %d times in ten hours, want about once an hour", both)
		}
	})
}

func TestFenceKeySharesTheSlot(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		for key, fence := range map[string]string{
			"plain":     "{plain}:fence",
			"{tag}:x":   "{tag}:x:fence",
			"x{tag}y":   "x{tag}y:fence",
			"open{only": "{open{only}:fence",
		} {
			l := &setlock.Lock{Key: key, Pool: redistest.Pool(t, dial)}
			locktest.MustLock(t, l, time.Minute)
			got, _ := redis.String(redistest.Do(t, dial, "GET", fence), nil)
			if got != strconv.FormatInt(l.Fence(), 10) {
				t.Errorf("key %q: %s holds %q, want the fence %d", key, fence, got, l.Fence())
			}
		}
	})
}

func TestForeignFenceIsAnErrorAndUntouched(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, _ := locktest.Pair(t, dial)
		for _, value := range []string{"", "x", "-1", "1e3", "9007199254740993", "99999999999999999999", "1.5", " 1"} {
			redistest.Do(t, dial, "SET", "{k}:fence", value)
			_, err := a.Lock(t.Context(), time.Minute)
			if err == nil || err == setlock.ErrNotHeld || !strings.Contains(err.Error(), "foreign value in the fence key {k}:fence") {
				t.Errorf("Lock beside a fence %q = %v, want an error that says so", value, err)
			}
			if got, _ := redis.String(redistest.Do(t, dial, "GET", "{k}:fence"), nil); got != value {
				t.Errorf("the foreign fence %q became %q", value, got)
			}
		}
		redistest.Do(t, dial, "DEL", "{k}:fence")
		redistest.Do(t, dial, "LPUSH", "{k}:fence", "x")
		if _, err := a.Lock(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("Lock beside a fence of another type = %v, want WRONGTYPE", err)
		}
		if got := redistest.Do(t, dial, "EXISTS", "k"); got != int64(0) {
			t.Error("the lock was left behind")
		}
	})
}

func TestFenceFromOtherContext(t *testing.T) {
	if fence, ok := setlock.FenceFromContext(t.Context()); fence != 0 || ok {
		t.Errorf("FenceFromContext = %d, %v, want 0, false", fence, ok)
	}
}

// A hold without a Do is trusted for 0.9 of its time, because clocks differ.
func TestFenceOfAPlainHoldEndsEarly(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		for _, set := range []func() error{
			func() error { _, err := l.Lock(t.Context(), time.Minute); return err },
			func() error { return l.Renew(t.Context(), time.Minute) },
			func() error { return l.Extend(t.Context(), 54*time.Second) }, // 6 s are left
		} {
			if err := set(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(54*time.Second - 1)
			if l.Fence() == 0 {
				t.Error("Fence = 0 within 0.9 of the time")
			}
			time.Sleep(time.Nanosecond)
			if got := l.Fence(); got != 0 {
				t.Errorf("Fence = %d after 0.9 of the time, want 0", got)
			}
		}
	})
}
