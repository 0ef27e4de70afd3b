package setlock_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/internal/trace"
	"example.com/setlock/setlock"
)

func TestWatch(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := locktest.Pair(t, dial)
		soon := 5 * time.Second
		locktest.MustLock(t, a, time.Minute)
		c := locktest.Watch(t, b)
		if h := locktest.Receive(t, c, soon); h.Owner != "a" || h.Fence != a.Fence() || h.Remaining <= 0 {
			t.Errorf("first saw %+v, want a, fence %d", h, a.Fence())
		}
		locktest.MustUnlock(t, a)
		locktest.SeesNobody(t, c, soon)
		locktest.MustLock(t, b, time.Minute)
		locktest.SeesHolder(t, c, "b", b.Fence(), soon)
		locktest.MustRenew(t, b, time.Hour)
		locktest.Quiet(t, c, 20*time.Millisecond)
	})
}

func TestWatchIsPushed(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Lock(lease)
		c := locktest.Watch(t, b)
		locktest.SeesNobody(t, c, 0)
		synctest.Wait()
		for range 3 {
			time.Sleep(lease / 7)
			locktest.MustLock(t, a, lease)
			locktest.SeesHold(t, c, a, 0)
			time.Sleep(lease / 7)
			locktest.MustUnlock(t, a)
			locktest.SeesNobody(t, c, 0)
		}
	})
}

func TestWatchSeesAHolderDie(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Lock(lease)
		locktest.MustLock(t, a, lease)
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 0)
		time.Sleep(lease / 2)
		locktest.MustRenew(t, a, lease)
		start := time.Now()
		locktest.SeesNobody(t, c, 2*lease)
		locktest.Between(t, "noticed after", time.Since(start), lease, lease+5*time.Millisecond)
	})
}

// A hold that Renew has shortened ends unannounced.
func TestWatchSeesAShortenedHoldEnd(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Direct(lease)
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 0)
		for range 3 {
			locktest.MustLock(t, a, time.Hour)
			locktest.Receive(t, c, 0)
			time.Sleep(lease / 3)
			locktest.MustRenew(t, a, lease/10)
			locktest.SeesNobody(t, c, lease+time.Millisecond)
		}
	})
}

func TestWatchSeesADeletionByHand(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		locktest.MustLock(t, l, 24*time.Hour)
		own, other := locktest.Watch(t, l), locktest.Watch(t, w.Direct(lease))
		locktest.Receive(t, own, 0)
		locktest.Receive(t, other, 0)
		time.Sleep(time.Minute)
		w.Server.Del("k")
		start := time.Now()
		for _, c := range []<-chan setlock.Holder{own, other} {
			locktest.SeesNobody(t, c, 2*lease)
		}
		locktest.Between(t, "seen after", time.Since(start), 0, lease+time.Millisecond)
	})
}

func TestWatchNewestWins(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Lock(lease)
		c := locktest.Watch(t, b)
		synctest.Wait() // the first look is done, and nobody reads
		for range 100 {
			locktest.MustLock(t, a, lease)
			synctest.Wait()
			locktest.MustUnlock(t, a)
			synctest.Wait()
		}
		locktest.MustLock(t, a, time.Hour)
		synctest.Wait()
		locktest.SeesHold(t, c, a, 0)
		locktest.Quiet(t, c, 10*lease)
	})
}

func TestWatchIsClosed(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		for name, faults := range map[string]redistest.Faults{"calm": {}, "silent": redistest.Silent, "refused": {Refuse: true}} {
			w.Network.Set(faults)
			ctx, cancel := context.WithCancel(t.Context())
			c := l.Watch(ctx)
			time.Sleep(time.Second)
			cancel()
			start := time.Now()
			for range c {
			}
			locktest.Between(t, name+": closed after", time.Since(start), 0, 10*time.Millisecond)
		}
	})
}

func TestWatchesShareAConnection(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		pool := redistest.Pool(t, w.Server.Dial)
		ctx, cancel := context.WithCancel(t.Context())
		var all []<-chan setlock.Holder
		for i := range 20 {
			l := &setlock.Lock{Key: fmt.Sprint("k", i%10), Pool: pool, Lease: lease}
			c := l.Watch(ctx)
			locktest.Receive(t, c, 0)
			all = append(all, c)
		}
		time.Sleep(time.Second)
		if got := w.Server.CurrentConnectionCount() - pool.IdleCount(); got != 1 {
			t.Errorf("%d connections outside the pool, want 1", got)
		}
		if got := len(w.Server.PubSubChannels("setlock:*")); got != 10 {
			t.Errorf("%d channels subscribed to, want 10", got)
		}
		cancel()
		for _, c := range all {
			for range c {
			}
		}
		synctest.Wait()
		if got := w.Server.CurrentConnectionCount() - pool.IdleCount(); got != 0 {
			t.Errorf("%d connections outside the pool after the last watch, want 0", got)
		}
	})
}

func TestWatchFollowerIsCheap(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Lock(lease)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- a.Do(ctx, func(ctx context.Context) error { <-ctx.Done(); return nil })
		}()
		time.Sleep(time.Second)
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 0)
		time.Sleep(lease)
		requests := w.Server.Count("PING", "look")
		locktest.Quiet(t, c, 100*lease)
		if got := float64(requests()) / 100; got < 0.9 || got > 1.3 {
			t.Errorf("a follower sends %.2f requests a lease, want 1.3 at most", got)
		}
		cancel()
		<-done
	})
}

func TestWatchTellsWhetherItIsPushed(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		told := make(chan bool, 10)
		tells := func(when string, want ...bool) {
			t.Helper()
			synctest.Wait()
			var got []bool
			for len(told) > 0 {
				got = append(got, <-told)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: told %v, want %v", when, got, want)
			}
		}
		l := w.Lock(lease)
		w.Network.Set(redistest.Faults{HoldReplies: true})
		c := l.Watch(trace.NewContext(t.Context(), &trace.Trace{Pushed: func(up bool) { told <- up }}))
		t.Cleanup(func() {
			for range c {
			}
		})
		tells("before the confirmation", false)
		w.Network.Set(redistest.Faults{})
		tells("confirmed", true)
		w.Disconnect()
		tells("broken", false)
		time.Sleep(time.Minute)
		tells("still broken")
		w.Network.Set(redistest.Faults{})
		time.Sleep(10 * time.Second)
		tells("again", true)
	})
}
