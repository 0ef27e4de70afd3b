package setlock_test

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
)

// What cannot be interrupted, a connection that a library has wrapped or a Dial that takes no
// context, holds up its own batch and nothing else.

// Connections that cannot be interrupted hang while Redis serves others.
func TestPlainConnectionsThatHang(t *testing.T) {
	const n = 20
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.LoadScripts(t, w.Direct(lease))
		w.Server.Quick()
		pool := w.Lock(lease).Pool
		locktest.Wrap(pool, locktest.NewPlain)
		h := newHole(w)
		c := locktest.NewCrowd(t, locktest.Locks(pool, "k", n, lease)...)
		h.open(2)
		time.Sleep(5 * lease)
		c.MustLose("two connections hang")
		if got := len(h.closed()); got != 0 {
			t.Errorf("%d connections were interrupted", got)
		}
		w.Network.Reset()
	})
}

// All of Redis is silent. Each session ends with its trust, although every batch is stuck.
func TestPlainConnectionsWhenRedisIsSilent(t *testing.T) {
	const n = 20
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.LoadScripts(t, w.Direct(lease))
		w.Server.Quick()
		pool := w.Lock(lease).Pool
		locktest.Wrap(pool, locktest.NewPlain)
		locks := locktest.Locks(pool, "k", n, lease)
		c := locktest.NewCrowd(t, locks...)
		time.Sleep(lease)
		silent := time.Now()
		end := trouble["silent"](w)
		time.Sleep(lease * 6 / 5) // sessions that have lost their lock try to release it
		allLost(t, c, n, silent)
		w.Network.Reset()
		end()
	})
}

// allLost fails t unless all n sessions were lost when the trust of their last renewal ended. The
// last renewals came in the third of the lease before away.
func allLost(t *testing.T, c *locktest.Crowd, n int, away time.Time) {
	t.Helper()
	lost := c.Lost()
	if len(lost) != n {
		t.Errorf("%d of %d sessions were lost", len(lost), n)
	}
	for key, loss := range lost {
		if got := loss.At.Sub(away); got < lease*9/10-lease/3 || got > lease*9/10 {
			t.Errorf("%s was lost after %v, want %v to %v", key, got, lease*9/10-lease/3, lease*9/10)
		}
	}
}

// A Dial without a context never returns: twice, or always. Nothing is left of it when it does.
func TestDialThatNeverReturns(t *testing.T) {
	const n = 20
	for name, most := range map[string]int64{"twice": 2, "always": math.MaxInt64} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				locktest.LoadScripts(t, w.Direct(lease))
				w.Server.Quick()
				w.Server.Forbid("SUBSCRIBE")
				var stuck atomic.Bool
				var dials atomic.Int64
				hang := make(chan struct{})
				pool := w.Lock(lease).Pool
				dial := pool.DialContext
				pool.DialContext = nil
				pool.Dial = func() (redis.Conn, error) {
					if stuck.Load() && dials.Add(1) <= most {
						<-hang
					}
					return dial(context.Background())
				}
				c := locktest.NewCrowd(t, locktest.Locks(pool, "k", n, lease)...)
				time.Sleep(lease)
				stuck.Store(true)
				away := time.Now()
				for range 10 {
					w.Network.Reset() // so that renewals have to dial
					time.Sleep(lease / 5)
				}
				if most > 2 {
					allLost(t, c, n, away)
				} else {
					c.MustLose("while two dials hang")
				}
				stopping := time.Now()
				c.Stop() // the release of a session takes a sixth of the lease at most
				if took := time.Since(stopping); took > lease/6+20*time.Millisecond {
					t.Errorf("the sessions took %v to end", took)
				}
				commands := w.Server.CommandCount()
				close(hang)
				synctest.Wait()
				if got := w.Server.CommandCount() - commands; got != 0 {
					t.Errorf("%d commands were sent when Dial returned", got)
				}
			})
		})
	}
}
