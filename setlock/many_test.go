package setlock_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/locktest"
)

// Ten thousand sessions lose Redis together, and find it again within a third of the lease. None is
// lost, and they do not flood Redis with connections: the renewer dials 16 at most, from the first
// renewal that fails until all sessions have renewed. With the race detector they are a thousand.
func TestManyFindRedisAgain(t *testing.T) {
	const most = 16
	n := 10_000
	if leaktest.RaceDetector() {
		n = 1000
	}
	for _, name := range []string{"silent", "refused"} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				locktest.LoadScripts(t, w.Direct(lease))
				w.Server.Quick()
				w.Server.ClockTTL(false)
				w.Server.Forbid("SUBSCRIBE") // the notifier dials by itself
				l := w.Lock(lease)
				l.Pool.MaxActive, l.Pool.Wait = most, true
				var dials atomic.Int64
				locktest.Wrap(l.Pool, func(conn redis.Conn) redis.Conn {
					dials.Add(1)
					return conn
				})
				renewals := w.Server.Requests("renew")
				c := locktest.NewCrowd(t, locktest.Locks(l.Pool, "k", n, lease)...)
				time.Sleep(lease) // they began together, and have spread since
				before := dials.Load()
				end := trouble[name](w)
				time.Sleep(lease/3 - time.Millisecond)
				end()
				ended := time.Now()
				time.Sleep(lease / 3)
				if got := dials.Load() - before; got > most {
					t.Errorf("%d connections were dialled, want %d at most", got, most)
				}
				renewed := make(map[string]bool)
				for _, r := range renewals() {
					if !r.At.Before(ended) {
						renewed[r.Key] = true
					}
				}
				if len(renewed) != n {
					t.Errorf("%d of %d sessions have renewed after the outage", len(renewed), n)
				}
				time.Sleep(lease)
				c.MustLose("a lease later")
			})
		})
	}
}
