package setlock_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// The connection for announcements: when a watch trusts it, and when it is dialled anew.

// splitPool returns a pool that keeps a few connections of looks, which serve requests. Every other
// connection comes from announcements.
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

// detour returns a dialer that goes through the network of w until around is true.
func detour(w *locktest.World) (dial redistest.Dialer, around *atomic.Bool) {
	around = new(atomic.Bool)
	return func(ctx context.Context) (net.Conn, error) {
		if around.Load() {
			return w.Server.Dial(ctx)
		}
		return w.Network.Dial(ctx)
	}, around
}

// A connection for announcements may die without an error. The first look that finds a change which
// that connection has not announced has it dialled anew.
func TestWatchOnASilentConnection(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Direct(lease)
		dead := redistest.NewNetwork(t, w.Server.Dial)
		pool := redistest.Pool(t, w.Server.Dial)
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
		c := locktest.Watch(t, l)
		locktest.Receive(t, c, 0)
		time.Sleep(time.Second)
		dead.Set(redistest.Silent)
		for range 3 {
			locktest.MustLock(t, a, lease)
			locktest.SeesHold(t, c, a, lease+time.Millisecond)
			locktest.MustUnlock(t, a)
			locktest.Receive(t, c, lease+10*time.Millisecond)
			time.Sleep(10 * time.Second) // for the PING to go without an answer
		}
		locktest.MustLock(t, a, lease)
		locktest.SeesHold(t, c, a, 0)
	})
}

// After the connection for announcements was dialled anew, a watch looks at the key before it trusts
// silence.
func TestWatchLooksAfterAReconnect(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(time.Minute), w.Direct(time.Minute)
		breaks := redistest.NewNetwork(t, w.Server.Dial)
		pool := redistest.Pool(t, w.Server.Dial)
		conn := pool.Get()
		conn.Do("PING")
		conn.Close() // for the looks
		pool.DialContext = redistest.Pool(t, breaks.Dial).DialContext
		l := &setlock.Lock{Key: "k", Pool: pool, Lease: time.Minute}
		c := locktest.Watch(t, l)
		locktest.Receive(t, c, 0)
		time.Sleep(time.Minute / 2)
		for _, other := range []*setlock.Lock{a, b} {
			time.Sleep(10 * time.Second)
			breaks.Reset()
			synctest.Wait()
			locktest.MustLock(t, other, time.Hour)
			// A redial takes less than a tenth of a second, a poll three at least.
			locktest.SeesHold(t, c, other, 100*time.Millisecond)
			locktest.MustUnlock(t, other)
			locktest.Receive(t, c, 0)
		}
	})
}

// The connection for announcements may stay with a server that answers and is not the primary any
// more. The first change that is not announced there ends the connection.
func TestWatchLeavesAServerThatTellsNothing(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		next := redistest.NewEmbedded(t)
		var promoted atomic.Bool
		pool := redistest.Pool(t, func(ctx context.Context) (net.Conn, error) {
			if promoted.Load() {
				return next.Dial(ctx)
			}
			return w.Server.Dial(ctx)
		})
		pool.MaxIdle = 0 // what asks goes to the primary
		a := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, next.Dial), Lease: lease}
		c := locktest.Watch(t, &setlock.Lock{Key: "k", Pool: pool, Lease: lease})
		locktest.Receive(t, c, 0)
		time.Sleep(time.Second)
		promoted.Store(true)
		locktest.MustLock(t, a, time.Hour)
		locktest.SeesHold(t, c, a, lease+time.Millisecond)
		time.Sleep(6 * time.Second) // it has answered, and still not told
		for range 3 {
			locktest.MustUnlock(t, a)
			locktest.SeesNobody(t, c, 0)
			locktest.MustLock(t, a, time.Hour)
			locktest.SeesHold(t, c, a, 0)
		}
	})
}

// Without the right to publish, no connection brings announcements. It is dialled anew rarely.
func TestWatchWithoutPublishKeepsItsConnection(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		subscribed := w.Server.Count("SUBSCRIBE")
		w.Server.Forbid("PUBLISH")
		a, b := w.Direct(lease), w.Direct(lease)
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 0)
		time.Sleep(time.Second)
		start := time.Now()
		for range 50 {
			locktest.MustLock(t, a, time.Hour)
			locktest.SeesHold(t, c, a, lease+time.Millisecond)
			time.Sleep(lease / 4)
			locktest.MustUnlock(t, a)
			locktest.SeesNobody(t, c, lease+time.Millisecond)
			time.Sleep(lease / 4)
		}
		most := 2 + int(time.Since(start)/(10*lease))
		if got := subscribed(); got < 3 || got > most {
			t.Errorf("subscribed %d times, want 3 to %d: once in ten leases", got, most)
		}
	})
}

// A look that finds a change shortly before the announcement arrives is no reason to mistrust the
// connection. Neither is a look that finds a change after a reconnect.
func TestWatchTrustsASlowConnection(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		pool := splitPool(t, w.Server.Dial, w.Network.Dial)
		subscribed := w.Server.Count("SUBSCRIBE")
		a := w.Direct(lease)
		c := locktest.Watch(t, &setlock.Lock{Key: "k", Pool: pool, Lease: lease})
		locktest.Receive(t, c, 0)
		synctest.Wait() // it looks again a lease later
		w.Network.Set(redistest.Faults{Delay: time.Second})
		time.Sleep(lease - time.Second/2)
		locktest.MustLock(t, a, time.Hour)
		locktest.Quiet(t, c, time.Second/4)
		locktest.SeesHold(t, c, a, time.Second/2)
		locktest.Quiet(t, c, time.Minute)
		if got := subscribed(); got != 1 {
			t.Errorf("subscribed %d times, want once", got)
		}

		w.Disconnect()
		synctest.Wait()
		locktest.MustUnlock(t, a)
		locktest.MustLock(t, a, time.Hour)
		w.Network.Set(redistest.Faults{})
		locktest.SeesHold(t, c, a, lease)
		locktest.Quiet(t, c, time.Minute)
		if got := subscribed(); got != 2 {
			t.Errorf("subscribed %d times, want twice", got)
		}
	})
}

// A connection may die right after it has answered a check. The next look that finds a change which
// was not announced has it checked again, at once.
func TestWatchDoubtsAgain(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		const lease = time.Minute
		dial, around := detour(w)
		pool := splitPool(t, w.Server.Dial, dial)
		k1 := locktest.Watch(t, &setlock.Lock{Key: "k1", Pool: pool, Lease: lease})
		k2 := locktest.Watch(t, &setlock.Lock{Key: "k2", Pool: pool, Lease: lease + 2*time.Second})
		locktest.Receive(t, k1, 0)
		locktest.Receive(t, k2, 0)
		w.Server.Store("k1", "x", 1)
		locktest.SeesHolder(t, k1, "x", 1, lease+time.Second)
		time.Sleep(20 * time.Second) // the connection is new by now, and stays for ten leases
		w.Server.Store("k1", "y", 2)
		locktest.SeesHolder(t, k1, "y", 2, lease)
		synctest.Wait() // it has been asked, and has answered
		w.Network.Set(redistest.Silent)
		around.Store(true)
		w.Server.Store("k2", "y", 2)
		locktest.SeesHolder(t, k2, "y", 2, 5*time.Second)
		time.Sleep(6 * time.Second)
		w.Server.Del("k2")
		w.Server.Publish("setlock:k2", locktest.Released("y"))
		locktest.SeesNobody(t, k2, 0)
	})
}

// A connection that has died without an error is found by the check after two minutes of silence.
func TestWatchChecksAQuietConnection(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		dial, around := detour(w)
		pool := splitPool(t, w.Server.Dial, dial)
		a := w.Direct(lease)
		c := locktest.Watch(t, &setlock.Lock{Key: "k", Pool: pool, Lease: lease})
		locktest.Receive(t, c, 0)
		time.Sleep(10 * time.Second)
		w.Network.Set(redistest.Silent)
		around.Store(true)
		time.Sleep(2*time.Minute + 6*time.Second)
		locktest.MustLock(t, a, time.Hour)
		locktest.SeesHold(t, c, a, 0)
	})
}
