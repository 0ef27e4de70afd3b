package setlock_test

import (
	"context"
	"math"
	"testing"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// The reply of an Extend is lost. The fence key still outlives the lock key.
func TestFenceKeyAfterALostExtend(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.LoadScripts(t, l)
		locktest.MustLock(t, l, time.Minute)
		locktest.MustRenew(t, l, 24*time.Hour) // the fence key lives 26 h
		locktest.MustRenew(t, l, time.Minute)  // and still does
		w.Network.Next(locktest.Sends("extend"), redistest.Lose)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		locktest.Fails(t, "Extend", l.Extend(ctx, time.Minute)) // runs; its reply is lost
		locktest.MustRenew(t, l, 12*time.Hour)
		if fence, lock := w.Server.TTL("{k}:fence"), w.Server.TTL("k"); fence < lock+time.Hour {
			t.Errorf("the fence key lives %v, and the lock key %v", fence, lock)
		}
	})
}

func TestFenceKeyAfterALostExtendInASession(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(time.Minute)
		locktest.LoadScripts(t, l)
		locktest.MustDo(t, l, func(ctx context.Context) error {
			time.Sleep(5 * time.Minute)
			locktest.MustRenew(t, l, 24*time.Hour)
			time.Sleep(5 * time.Minute)
			w.Network.Next(locktest.Sends("extend"), redistest.Lose)
			short, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			locktest.Fails(t, "Extend", l.Extend(short, time.Second))
			for range 5 * 60 {
				time.Sleep(time.Minute)
				if ctx.Err() != nil {
					t.Fatal(context.Cause(ctx))
				}
				if !w.Server.Exists("{k}:fence") {
					t.Fatal("the fence key has expired under a running Do")
				}
			}
			return nil
		})
	})
}

func TestFenceKeyOfALongRenew(t *testing.T) {
	s := redistest.NewServer(t) // the embedded server cannot count so far
	l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, s.Dial)}
	locktest.MustLock(t, l, time.Minute)
	locktest.MustRenew(t, l, math.MaxInt64)
	fence := redistest.Do(t, s.Dial, "PTTL", "{k}:fence").(int64)
	lock := redistest.Do(t, s.Dial, "PTTL", "k").(int64)
	if fence < lock {
		t.Errorf("the fence key lives %d ms, and the lock key %d ms", fence, lock)
	}
}
