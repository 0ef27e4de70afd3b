package setlock_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// watch returns a watch of l that ends with the test.
func watch(t *testing.T, l *setlock.Lock) <-chan setlock.Holder {
	ctx, cancel := context.WithCancel(t.Context())
	c := l.Watch(ctx)
	t.Cleanup(func() {
		cancel()
		for range c {
		}
	})
	return c
}

// receive returns what c has within d.
func receive(t *testing.T, c <-chan setlock.Holder, d time.Duration) setlock.Holder {
	t.Helper()
	select {
	case h, open := <-c:
		if !open {
			t.Fatal("the watch is closed")
		}
		return h
	case <-time.After(d + 1): // in virtual time, 0 is enough for all that needs none
		t.Fatalf("nothing to see within %v", d)
	}
	panic("not reached")
}

// quiet fails t if c has anything within d.
func quiet(t *testing.T, c <-chan setlock.Holder, d time.Duration) {
	t.Helper()
	select {
	case h, open := <-c:
		t.Errorf("saw %+v, %v, want nothing for %v", h, open, d)
	case <-time.After(d):
	}
}

func TestWatch(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := pair(t, dial)
		soon := 5 * time.Second
		mustLock(t, a, time.Minute)
		c := watch(t, b)
		if h := receive(t, c, soon); h.Owner != "a" || h.Fence != a.Fence() || h.Remaining <= 0 {
			t.Errorf("first saw %+v, want a, fence %d", h, a.Fence())
		}
		if err := a.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h := receive(t, c, soon); !h.Nobody() {
			t.Errorf("after the release saw %+v, want nobody", h)
		}
		mustLock(t, b, time.Minute)
		if h := receive(t, c, soon); h.Owner != "b" || h.Fence != b.Fence() {
			t.Errorf("after the next acquisition saw %+v, want b, fence %d", h, b.Fence())
		}
		if err := b.Renew(t.Context(), time.Hour); err != nil {
			t.Error(err)
		}
		quiet(t, c, 20*time.Millisecond)
	})
}

func TestWatchIsPushed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(lease), w.lock(lease)
		c := watch(t, b)
		if h := receive(t, c, 0); !h.Nobody() {
			t.Errorf("first saw %+v, want nobody", h)
		}
		synctest.Wait()
		for range 3 {
			time.Sleep(lease / 7)
			mustLock(t, a, lease)
			if h := receive(t, c, 0); h.Fence != a.Fence() {
				t.Errorf("saw %+v, want fence %d", h, a.Fence())
			}
			time.Sleep(lease / 7)
			if err := a.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			if h := receive(t, c, 0); !h.Nobody() {
				t.Errorf("saw %+v, want nobody", h)
			}
		}
	})
}

func TestWatchSeesAHolderDie(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(lease), w.lock(lease)
		mustLock(t, a, lease)
		c := watch(t, b)
		receive(t, c, 0)
		time.Sleep(lease / 2)
		if err := a.Renew(t.Context(), lease); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if h := receive(t, c, 2*lease); !h.Nobody() {
			t.Errorf("saw %+v, want nobody", h)
		}
		between(t, "noticed after", time.Since(start), lease, lease+5*time.Millisecond)
	})
}

func TestWatchWithoutPush(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		redistest.Do(t, w.server.Dial, "PING")
		w.server.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
			if strings.EqualFold(cmd, "SUBSCRIBE") {
				c.WriteError("NOPERM this user has no permissions to access one of the channels used as arguments")
				return true
			}
			return false
		})
		a, b := w.direct(lease), w.lock(lease)
		c := watch(t, b)
		receive(t, c, 0)
		for range 5 {
			mustLock(t, a, time.Hour)
			start := time.Now()
			if h := receive(t, c, lease); h.Fence != a.Fence() {
				t.Errorf("saw %+v, want fence %d", h, a.Fence())
			}
			between(t, "polled within", time.Since(start), 0, lease/10)
			if err := a.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			start = time.Now()
			if h := receive(t, c, lease); !h.Nobody() {
				t.Errorf("saw %+v, want nobody", h)
			}
			between(t, "polled within", time.Since(start), 0, lease/10)
		}
	})
}

func TestWatchAfterAnOutage(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(lease), w.lock(lease)
		mustLock(t, a, time.Hour)
		c := watch(t, b)
		receive(t, c, 0)
		time.Sleep(time.Second)
		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		if err := a.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustLock(t, a, time.Hour)
		quiet(t, c, time.Minute) // what was seen last stands
		w.network.Set(redistest.Faults{})
		if h := receive(t, c, lease); h.Fence != a.Fence() {
			t.Errorf("after the outage saw %+v, want fence %d", h, a.Fence())
		}
		time.Sleep(time.Minute)
		// And pushed again.
		if err := a.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h := receive(t, c, 0); !h.Nobody() {
			t.Errorf("saw %+v, want nobody", h)
		}
	})
}

// A connection for announcements that has died without a word is found by the look that
// learns what it should have told.
func TestWatchOnASilentConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(lease), w.direct(lease)
		dead := redistest.NewNetwork(t, w.server.Dial)
		pool := redistest.Pool(t, w.server.Dial)
		through := redistest.Pool(t, dead.Dial)
		conn := pool.Get()
		conn.Do("PING")
		conn.Close() // for the looks; the next one dialled is for the announcements
		var dialled atomic.Bool
		pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
			if dialled.CompareAndSwap(false, true) {
				return through.DialContext(ctx)
			}
			return b.Pool.DialContext(ctx)
		}
		l := &setlock.Lock{Key: "k", Pool: pool, Lease: lease}
		c := watch(t, l)
		receive(t, c, 0)
		time.Sleep(time.Second)
		dead.Set(redistest.Silent)
		for range 3 {
			mustLock(t, a, lease)
			if h := receive(t, c, lease+time.Millisecond); h.Fence != a.Fence() {
				t.Errorf("saw %+v, want fence %d", h, a.Fence())
			}
			if err := a.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			receive(t, c, lease+10*time.Millisecond)
			time.Sleep(10 * time.Second) // for the PING to go without an answer
		}
		mustLock(t, a, lease)
		if h := receive(t, c, 0); h.Fence != a.Fence() {
			t.Errorf("saw %+v, want fence %d at once", h, a.Fence())
		}
	})
}

// What happens while the connection for announcements is dialled again is looked for
// when it is up, before its silence is trusted.
func TestWatchLooksAfterAReconnect(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(time.Minute), w.direct(time.Minute)
		breaks := redistest.NewNetwork(t, w.server.Dial)
		pool := redistest.Pool(t, w.server.Dial)
		conn := pool.Get()
		conn.Do("PING")
		conn.Close() // for the looks
		pool.DialContext = redistest.Pool(t, breaks.Dial).DialContext
		l := &setlock.Lock{Key: "k", Pool: pool, Lease: time.Minute}
		c := watch(t, l)
		receive(t, c, 0)
		time.Sleep(time.Minute / 2)
		for _, other := range []*setlock.Lock{a, b} {
			time.Sleep(10 * time.Second)
			breaks.Reset()
			synctest.Wait()
			mustLock(t, other, time.Hour)
			// A redial takes less than a tenth of a second, a poll three at least.
			if h := receive(t, c, 100*time.Millisecond); h.Fence != other.Fence() {
				t.Errorf("saw %+v, want fence %d", h, other.Fence())
			}
			if err := other.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			receive(t, c, 0)
		}
	})
}

func TestWatchNewestWins(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(lease), w.lock(lease)
		c := watch(t, b)
		synctest.Wait() // the first look is done, and nobody reads
		for range 100 {
			mustLock(t, a, lease)
			synctest.Wait()
			if err := a.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		mustLock(t, a, time.Hour)
		synctest.Wait()
		if h := receive(t, c, 0); h.Fence != a.Fence() {
			t.Errorf("a slow reader saw %+v, want the latest, fence %d", h, a.Fence())
		}
		quiet(t, c, 10*lease)
	})
}

func TestWatchIsClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		for name, faults := range map[string]redistest.Faults{"calm": {}, "silent": redistest.Silent, "refused": {Refuse: true}} {
			w.network.Set(faults)
			ctx, cancel := context.WithCancel(t.Context())
			c := l.Watch(ctx)
			time.Sleep(time.Second)
			cancel()
			start := time.Now()
			for range c {
			}
			between(t, name+": closed after", time.Since(start), 0, 10*time.Millisecond)
		}
	})
}

func TestWatchesShareAConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		pool := redistest.Pool(t, w.server.Dial)
		ctx, cancel := context.WithCancel(t.Context())
		var all []<-chan setlock.Holder
		for i := range 20 {
			l := &setlock.Lock{Key: fmt.Sprint("k", i%10), Pool: pool, Lease: lease}
			c := l.Watch(ctx)
			receive(t, c, 0)
			all = append(all, c)
		}
		time.Sleep(time.Second)
		if got := w.server.CurrentConnectionCount() - pool.IdleCount(); got != 1 {
			t.Errorf("%d connections outside the pool, want 1", got)
		}
		if got := len(w.server.PubSubChannels("setlock:*")); got != 10 {
			t.Errorf("%d channels subscribed to, want 10", got)
		}
		cancel()
		for _, c := range all {
			for range c {
			}
		}
		synctest.Wait()
		if got := w.server.CurrentConnectionCount() - pool.IdleCount(); got != 0 {
			t.Errorf("%d connections outside the pool after the last watch, want 0", got)
		}
	})
}

// Databases of one server share their channels: what is announced may be of
// another lock, and is looked at before it is believed.
func TestWatchIsNotFooled(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(lease), w.lock(lease)
		mustLock(t, a, time.Hour)
		c := watch(t, b)
		receive(t, c, 0)
		time.Sleep(time.Second)
		for _, message := range []string{
			"", "nonsense", "released ", "released somebody:else", "acquired", "acquired 1 2 3", "acquired x 1 2 v",
			"acquired 99 1000 98 ABCDEFGHIJKLMNOPQRSTUVWXYZ:mallory", "acquired 99 -1 98 v", "acquired 99 1000  v",
		} {
			w.server.Publish("setlock:k", message)
			quiet(t, c, time.Second)
		}
	})
}

func TestWatchFollowerIsCheap(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(lease), w.lock(lease)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- a.Do(ctx, func(ctx context.Context) error { <-ctx.Done(); return nil })
		}()
		time.Sleep(time.Second)
		c := watch(t, b)
		receive(t, c, 0)
		time.Sleep(lease)
		var requests atomic.Int64
		w.server.Server().SetPreHook(func(_ *server.Peer, cmd string, args ...string) bool {
			if cmd == "PING" || strings.HasPrefix(cmd, "EVAL") && len(args) == 4 {
				requests.Add(1)
			}
			return false
		})
		quiet(t, c, 100*lease)
		if got := float64(requests.Load()) / 100; got < 0.9 || got > 1.3 {
			t.Errorf("a follower sends %.2f requests a lease, want 1.3 at most", got)
		}
		cancel()
		<-done
	})
}
