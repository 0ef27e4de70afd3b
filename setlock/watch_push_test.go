package setlock_test

import (
	"context"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/internal/trace"
	"example.com/setlock/setlock"
)

// splitPool returns a pool that keeps a few connections of looks, for requests. Every
// other connection is one of announcements.
func splitPool(t *testing.T, looks, announcements redistest.Dialer) *redis.Pool {
	t.Helper()
	pool := redistest.Pool(t, looks)
	for range 4 {
		conn := pool.Get()
		if _, err := conn.Do("PING"); err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	pool.DialContext = redistest.Pool(t, announcements).DialContext
	return pool
}

// detour returns a dialer that goes through the network until around is true.
func (w *world) detour() (dial redistest.Dialer, around *atomic.Bool) {
	around = new(atomic.Bool)
	return func(ctx context.Context) (net.Conn, error) {
		if around.Load() {
			return w.server.Dial(ctx)
		}
		return w.network.Dial(ctx)
	}, around
}

// count returns how often the server of w is sent a command from now on.
func (w *world) count(command string) *atomic.Int64 {
	n := new(atomic.Int64)
	redistest.Do(w.t, w.server.Dial, "PING") // there is a server to hook into
	w.server.Server().SetPreHook(func(_ *server.Peer, cmd string, _ ...string) bool {
		if cmd == command {
			n.Add(1)
		}
		return false
	})
	return n
}

// A slowToUnsubscribe stays in the Flush of an UNSUBSCRIBE for a pause.
type slowToUnsubscribe struct {
	redis.Conn
	pause time.Duration
	last  string // the command that was sent last
}

func (c *slowToUnsubscribe) Send(command string, args ...any) error {
	c.last = command
	return c.Conn.Send(command, args...)
}

func (c *slowToUnsubscribe) Flush() error {
	err := c.Conn.Flush()
	if c.last == "UNSUBSCRIBE" {
		time.Sleep(c.pause)
	}
	return err
}

func (c *slowToUnsubscribe) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, d)
}

func (c *slowToUnsubscribe) DoWithTimeout(d time.Duration, command string, args ...any) (any, error) {
	return redis.DoWithTimeout(c.Conn, d, command, args...)
}

// A watch begins while the server has yet to answer the SUBSCRIBE and the UNSUBSCRIBE of one
// that has ended. The answer to these tells nothing of the new watch.
func TestWatchRightAfterAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const delay = 10 * time.Millisecond
		w.server.Set("{k}:fence", "1") // what continues that needs no look
		w.network.Set(redistest.Faults{Delay: delay})
		pool := redistest.Pool(t, w.network.Dial)
		dial := pool.DialContext
		pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
			conn, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return &slowToUnsubscribe{Conn: conn, pause: 5 * delay}, nil
		}
		receive(t, watch(t, &setlock.Lock{Key: "other", Pool: pool, Lease: lease}), time.Second)
		time.Sleep(time.Second)
		l := &setlock.Lock{Key: "k", Pool: pool, Lease: lease}

		ctx, cancel := context.WithCancel(t.Context())
		first := l.Watch(ctx)
		time.Sleep(delay / 2) // its SUBSCRIBE is on its way
		cancel()
		for range first {
		}
		synctest.Wait() // its UNSUBSCRIBE, too
		c := watch(t, l)
		receive(t, c, time.Second)
		time.Sleep(time.Second)

		a := w.direct(lease)
		mustLock(t, a, time.Hour)
		if h := receive(t, c, delay); h.Fence != a.Fence() {
			t.Errorf("saw %+v, want fence %d", h, a.Fence())
		}
	})
}

// The refusal of one channel tells nothing of another, and is not for ever.
func TestWatchOfARefusedChannel(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		redistest.Do(t, w.server.Dial, "PING")
		var allowed atomic.Bool
		w.server.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
			if cmd == "SUBSCRIBE" && args[0] == "setlock:k" && !allowed.Load() {
				c.WriteError("NOPERM this user has no permissions to access one of the channels used as arguments")
				return true
			}
			return false
		})
		a, b := w.direct(time.Minute), w.direct(time.Minute)
		others := []*setlock.Lock{{Key: "before", Pool: b.Pool}, {Key: "after", Pool: b.Pool}}
		before := watch(t, others[0])
		c := watch(t, b)
		after := watch(t, others[1])
		for _, c := range []<-chan setlock.Holder{before, c, after} {
			receive(t, c, 0)
		}
		time.Sleep(time.Second)
		for i, c := range []<-chan setlock.Holder{before, after} {
			l := &setlock.Lock{Key: others[i].Key, Pool: a.Pool}
			mustLock(t, l, time.Hour)
			if h := receive(t, c, 0); h.Fence != l.Fence() {
				t.Errorf("%s: saw %+v, want fence %d", l.Key, h, l.Fence())
			}
		}
		mustLock(t, a, time.Hour)
		quiet(t, c, time.Millisecond)
		if h := receive(t, c, 6*time.Second); h.Fence != a.Fence() {
			t.Errorf("without the right saw %+v, want fence %d", h, a.Fence())
		}
		allowed.Store(true)
		for range 30 {
			time.Sleep(10 * time.Second)
			w.server.Publish("setlock:before", "the connection is not quiet")
		}
		if err := a.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h := receive(t, c, 0); !h.Nobody() {
			t.Errorf("with the right saw %+v, want nobody at once", h)
		}
	})
}

// The connection for announcements may stay with a server that answers and is the primary no
// more. The first change that it does not tell ends it.
func TestWatchLeavesAServerThatTellsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		next := redistest.NewEmbedded(t)
		var promoted atomic.Bool
		pool := redistest.Pool(t, func(ctx context.Context) (net.Conn, error) {
			if promoted.Load() {
				return next.Dial(ctx)
			}
			return w.server.Dial(ctx)
		})
		pool.MaxIdle = 0 // what asks goes to the primary
		a := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, next.Dial), Lease: lease}
		c := watch(t, &setlock.Lock{Key: "k", Pool: pool, Lease: lease})
		receive(t, c, 0)
		time.Sleep(time.Second)
		promoted.Store(true)
		mustLock(t, a, time.Hour)
		if h := receive(t, c, lease+time.Millisecond); h.Fence != a.Fence() {
			t.Errorf("saw %+v, want fence %d", h, a.Fence())
		}
		time.Sleep(6 * time.Second) // it has answered, and still not told
		for range 3 {
			if err := a.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			if h := receive(t, c, 0); !h.Nobody() {
				t.Errorf("saw %+v, want nobody at once", h)
			}
			mustLock(t, a, time.Hour)
			if h := receive(t, c, 0); h.Fence != a.Fence() {
				t.Errorf("saw %+v, want fence %d at once", h, a.Fence())
			}
		}
	})
}

// Where nobody may publish, no connection tells anything: a new one is no cure.
func TestWatchWithoutPublishKeepsItsConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		redistest.Do(t, w.server.Dial, "PING")
		var subscribed atomic.Int64
		w.server.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
			switch cmd {
			case "PUBLISH":
				c.WriteError("NOPERM this user has no permissions to run the 'publish' command")
				return true
			case "SUBSCRIBE":
				subscribed.Add(1)
			}
			return false
		})
		a, b := w.direct(lease), w.direct(lease)
		c := watch(t, b)
		receive(t, c, 0)
		time.Sleep(time.Second)
		start := time.Now()
		for range 50 {
			mustLock(t, a, time.Hour)
			if h := receive(t, c, lease+time.Millisecond); h.Fence != a.Fence() {
				t.Errorf("saw %+v, want fence %d", h, a.Fence())
			}
			time.Sleep(lease / 4)
			if err := a.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			if h := receive(t, c, lease+time.Millisecond); !h.Nobody() {
				t.Errorf("saw %+v, want nobody", h)
			}
			time.Sleep(lease / 4)
		}
		most := 2 + int64(time.Since(start)/(10*lease))
		if got := subscribed.Load(); got < 3 || got > most {
			t.Errorf("subscribed %d times, want 3 to %d: once in ten leases", got, most)
		}
	})
}

// What a look finds shortly before its announcement arrives is no reason to mistrust the
// connection; neither is what it finds because announcements may have been missed.
func TestWatchTrustsASlowConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		pool := splitPool(t, w.server.Dial, w.network.Dial)
		subscribed := w.count("SUBSCRIBE")
		a := w.direct(lease)
		c := watch(t, &setlock.Lock{Key: "k", Pool: pool, Lease: lease})
		receive(t, c, 0)
		synctest.Wait() // it looks again a lease later
		w.network.Set(redistest.Faults{Delay: time.Second})
		time.Sleep(lease - time.Second/2)
		mustLock(t, a, time.Hour)
		quiet(t, c, time.Second/4)
		if h := receive(t, c, time.Second/2); h.Fence != a.Fence() {
			t.Errorf("saw %+v, want fence %d", h, a.Fence())
		}
		quiet(t, c, time.Minute)
		if got := subscribed.Load(); got != 1 {
			t.Errorf("subscribed %d times, want once", got)
		}

		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		synctest.Wait()
		if err := a.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustLock(t, a, time.Hour)
		w.network.Set(redistest.Faults{})
		if h := receive(t, c, lease); h.Fence != a.Fence() {
			t.Errorf("after the reconnect saw %+v, want fence %d", h, a.Fence())
		}
		quiet(t, c, time.Minute)
		if got := subscribed.Load(); got != 2 {
			t.Errorf("subscribed %d times, want twice", got)
		}
	})
}

// A connection that dies right after it has answered is found by the next look that finds what it
// should have told, not by the next check.
func TestWatchDoubtsAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const lease = time.Minute
		dial, around := w.detour()
		pool := splitPool(t, w.server.Dial, dial)
		acquiredByHand := func(key, owner, fence string) {
			w.server.Set("{"+key+"}:fence", fence)
			w.server.Set(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ:"+owner)
		}
		k1 := watch(t, &setlock.Lock{Key: "k1", Pool: pool, Lease: lease})
		k2 := watch(t, &setlock.Lock{Key: "k2", Pool: pool, Lease: lease + 2*time.Second})
		receive(t, k1, 0)
		receive(t, k2, 0)
		acquiredByHand("k1", "x", "1")
		if h := receive(t, k1, lease+time.Second); h.Owner != "x" {
			t.Errorf("saw %+v, want x", h)
		}
		time.Sleep(20 * time.Second) // the connection is new by now, and stays for ten leases
		acquiredByHand("k1", "y", "2")
		if h := receive(t, k1, lease); h.Owner != "y" {
			t.Errorf("saw %+v, want y", h)
		}
		synctest.Wait() // it has been asked, and has answered
		w.network.Set(redistest.Silent)
		around.Store(true)
		acquiredByHand("k2", "y", "2")
		if h := receive(t, k2, 5*time.Second); h.Owner != "y" {
			t.Errorf("saw %+v, want y", h)
		}
		time.Sleep(6 * time.Second)
		w.server.Del("k2")
		w.server.Publish("setlock:k2", "released ABCDEFGHIJKLMNOPQRSTUVWXYZ:y")
		if h := receive(t, k2, 0); !h.Nobody() {
			t.Errorf("saw %+v, want nobody at once", h)
		}
	})
}

// A connection that has died without a word is found by the check that follows two minutes of silence.
func TestWatchChecksAQuietConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dial, around := w.detour()
		pool := splitPool(t, w.server.Dial, dial)
		a := w.direct(lease)
		c := watch(t, &setlock.Lock{Key: "k", Pool: pool, Lease: lease})
		receive(t, c, 0)
		time.Sleep(10 * time.Second)
		w.network.Set(redistest.Silent)
		around.Store(true)
		time.Sleep(2*time.Minute + 6*time.Second)
		mustLock(t, a, time.Hour)
		if h := receive(t, c, 0); h.Fence != a.Fence() {
			t.Errorf("saw %+v, want fence %d at once", h, a.Fence())
		}
	})
}

func TestWatchTellsWhetherItIsPushed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
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
		l := w.lock(lease)
		w.network.Set(redistest.Faults{HoldReplies: true})
		c := l.Watch(trace.NewContext(t.Context(), &trace.Trace{Pushed: func(up bool) { told <- up }}))
		t.Cleanup(func() {
			for range c {
			}
		})
		tells("before the confirmation", false)
		w.network.Set(redistest.Faults{})
		tells("confirmed", true)
		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		tells("broken", false)
		time.Sleep(time.Minute)
		tells("still broken")
		w.network.Set(redistest.Faults{})
		time.Sleep(10 * time.Second)
		tells("again", true)
	})
}
