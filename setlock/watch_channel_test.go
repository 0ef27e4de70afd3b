package setlock_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A slowToUnsubscribe stays in the Flush of an UNSUBSCRIBE for a pause.
type slowToUnsubscribe struct {
	locktest.Wrapped
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

// A watch begins while the server has not answered the SUBSCRIBE and the UNSUBSCRIBE of an earlier
// watch of the same channel. These answers do not confirm the subscription of the new watch.
func TestWatchRightAfterAnother(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		const delay = 10 * time.Millisecond
		w.Server.Set("{k}:fence", "1") // what continues that needs no look
		w.Network.Set(redistest.Faults{Delay: delay})
		pool := redistest.Pool(t, w.Network.Dial)
		locktest.Wrap(pool, func(conn redis.Conn) redis.Conn {
			return &slowToUnsubscribe{Wrapped: locktest.Wrapped{Conn: conn}, pause: 5 * delay}
		})
		locktest.Receive(t, locktest.Watch(t, &setlock.Lock{Key: "other", Pool: pool, Lease: lease}), time.Second)
		time.Sleep(time.Second)
		l := &setlock.Lock{Key: "k", Pool: pool, Lease: lease}

		ctx, cancel := context.WithCancel(t.Context())
		first := l.Watch(ctx)
		time.Sleep(delay / 2) // its SUBSCRIBE is on its way
		cancel()
		for range first {
		}
		synctest.Wait() // its UNSUBSCRIBE, too
		c := locktest.Watch(t, l)
		locktest.Receive(t, c, time.Second)
		time.Sleep(time.Second)

		a := w.Direct(lease)
		locktest.MustLock(t, a, time.Hour)
		locktest.SeesHold(t, c, a, delay)
	})
}

// The refusal of one channel does not affect other channels, and it is not final.
func TestWatchOfARefusedChannel(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		var allowed atomic.Bool
		w.Server.Answer(func(c *server.Peer, args []string) bool {
			if args[0] != "setlock:k" || allowed.Load() {
				return false
			}
			c.WriteError("NOPERM this user has no permissions to access one of the channels used as arguments")
			return true
		}, "SUBSCRIBE")
		a, b := w.Direct(time.Minute), w.Direct(time.Minute)
		others := []*setlock.Lock{{Key: "before", Pool: b.Pool}, {Key: "after", Pool: b.Pool}}
		before := locktest.Watch(t, others[0])
		c := locktest.Watch(t, b)
		after := locktest.Watch(t, others[1])
		for _, c := range []<-chan setlock.Holder{before, c, after} {
			locktest.Receive(t, c, 0)
		}
		time.Sleep(time.Second)
		for i, c := range []<-chan setlock.Holder{before, after} {
			l := &setlock.Lock{Key: others[i].Key, Pool: a.Pool}
			locktest.MustLock(t, l, time.Hour)
			locktest.SeesHold(t, c, l, 0)
		}
		locktest.MustLock(t, a, time.Hour)
		locktest.Quiet(t, c, time.Millisecond)
		locktest.SeesHold(t, c, a, 6*time.Second)
		allowed.Store(true)
		for range 30 {
			time.Sleep(10 * time.Second)
			w.Server.Publish("setlock:before", "the connection is not quiet")
		}
		locktest.MustUnlock(t, a)
		locktest.SeesNobody(t, c, 0)
	})
}

func TestRedialsArePaced(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		var dials atomic.Int64
		w.Server.Answer(func(c *server.Peer, _ []string) bool { // as a proxy that knows no SUBSCRIBE
			dials.Add(1)
			c.WriteError("ERR unknown command SUBSCRIBE")
			c.Flush()
			c.Close()
			return true
		}, "SUBSCRIBE")
		locktest.Receive(t, locktest.Watch(t, w.Direct(lease)), 0)
		time.Sleep(10 * time.Minute)
		if got := dials.Load(); got > 200 {
			t.Errorf("%d dials in ten minutes", got)
		}
	})
}
