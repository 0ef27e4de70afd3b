package setlock_test

import (
	"context"
	"fmt"
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

// A watch looks at the lock when announcements cannot be trusted, or do not arrive.

func TestWatchWithoutPush(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		w.Server.Forbid("SUBSCRIBE")
		a, b := w.Direct(lease), w.Lock(lease)
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 0)
		for range 5 {
			locktest.MustLock(t, a, time.Hour)
			start := time.Now()
			locktest.SeesHold(t, c, a, lease)
			locktest.Between(t, "polled within", time.Since(start), 0, lease/10)
			locktest.MustUnlock(t, a)
			start = time.Now()
			locktest.SeesNobody(t, c, lease)
			locktest.Between(t, "polled within", time.Since(start), 0, lease/10)
		}
	})
}

func TestWatchAfterAnOutage(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Lock(lease)
		locktest.MustLock(t, a, time.Hour)
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 0)
		time.Sleep(time.Second)
		w.Disconnect()
		locktest.MustUnlock(t, a)
		locktest.MustLock(t, a, time.Hour)
		locktest.Quiet(t, c, time.Minute) // the watch keeps to the last Holder
		w.Network.Set(redistest.Faults{})
		locktest.SeesHold(t, c, a, lease)
		time.Sleep(time.Minute)
		// Announcements arrive again.
		locktest.MustUnlock(t, a)
		locktest.SeesNobody(t, c, 0)
	})
}

// sees fails t unless c reports each of ten acquisitions and releases by a within d.
func sees(t *testing.T, c <-chan setlock.Holder, a *setlock.Lock, d time.Duration) {
	t.Helper()
	for range 10 {
		time.Sleep(a.Lease / 5)
		locktest.MustLock(t, a, 24*time.Hour)
		locktest.SeesHold(t, c, a, d)
		time.Sleep(a.Lease / 5)
		locktest.MustUnlock(t, a)
		locktest.SeesNobody(t, c, d)
	}
}

// A connection for announcements that breaks again and again does not keep a watch from polling.
func TestWatchPollsWhileItsConnectionFlaps(t *testing.T) {
	for name, reply := range map[string]bool{"before the reply": false, "after the reply": true} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				const lease = 5 * time.Minute
				w.Server.Answer(func(c *server.Peer, args []string) bool {
					if reply {
						c.WriteLen(3)
						c.WriteBulk("subscribe")
						c.WriteBulk(args[0])
						c.WriteInt(1)
						c.Flush()
					}
					c.Close()
					return true
				}, "SUBSCRIBE")
				a, b := w.Direct(lease), w.Direct(lease)
				c := locktest.Watch(t, b)
				locktest.Receive(t, c, 0)
				sees(t, c, a, lease/10)
			})
		})
	}
}

func TestWatchPollsOnWrappedConnections(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		const lease = 5 * time.Minute
		var dialled atomic.Int64
		pool := redistest.Pool(t, w.Server.Dial)
		locktest.Wrap(pool, func(conn redis.Conn) redis.Conn {
			dialled.Add(1)
			return locktest.NewPlain(conn)
		})
		c := locktest.Watch(t, &setlock.Lock{Key: "k", Pool: pool, Lease: lease})
		locktest.Receive(t, c, 0)
		start := time.Now()
		sees(t, c, w.Direct(lease), lease/10)
		if got, most := dialled.Load(), 3+int64(time.Since(start)/time.Minute); got > most {
			t.Errorf("dialled %d times in %v, want %d at most: no other connection will do", got, time.Since(start), most)
		}
	})
}

// Databases of one server share their channels, so an announcement may be of another lock. A watch
// looks at the key before it believes it.
func TestWatchIsNotFooled(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Lock(lease)
		locktest.MustLock(t, a, time.Hour)
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 0)
		time.Sleep(time.Second)
		for _, message := range []string{
			"", "nonsense", "released ", "released somebody:else", "acquired", "acquired 1 2 3", "acquired x 1 2 v",
			locktest.Acquired("mallory", 99, 98), "acquired 99 -1 98 v", "acquired 99 1000  v",
		} {
			w.Server.Publish("setlock:k", message)
			locktest.Quiet(t, c, time.Second)
		}
	})
}

// A forger announces acquisitions that have not happened. Each continues what the one before said.
type forger struct {
	w     *locktest.World
	fence int64 // of the last announcement
}

func (f *forger) forge() {
	f.w.Server.Publish("setlock:k", fmt.Sprintf("acquired %d 3600000 %d %s", f.fence+1, f.fence, locktest.Value("forged")))
	f.fence++
}

// until forges an announcement every pause until c reports nobody. It returns how long that took, and
// fails the test after d.
func (f *forger) until(t *testing.T, c <-chan setlock.Holder, pause, d time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	for time.Since(start) < d {
		f.forge()
		for next := time.After(pause); next != nil; {
			select {
			case h := <-c:
				if h.Nobody() {
					return time.Since(start)
				}
			case <-next:
				next = nil
			}
		}
	}
	t.Fatalf("in %v the watch has not found that nobody holds the lock", time.Since(start))
	return 0
}

// Whatever is announced, a look finds the holder of the key within a lease.
func TestWatchLooksBehindForgedAnnouncements(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		dead, b := w.Direct(lease), w.Direct(lease)
		locktest.MustLock(t, dead, 3*lease)
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 0)
		synctest.Wait()
		f := &forger{w, dead.Fence()}
		took := f.until(t, c, lease/2, 10*lease)
		locktest.Between(t, "noticed after", took, 3*lease-time.Millisecond, 4*lease+10*time.Millisecond)
	})
}

// Whatever is announced, a look that has failed is tried again within half a lease.
func TestWatchTriesAgainBehindForgedAnnouncements(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		pool := redistest.Pool(t, w.Network.Dial)
		pool.MaxIdle = 0 // what asks has to connect
		dead := w.Direct(lease)
		locktest.MustLock(t, dead, lease)
		c := locktest.Watch(t, &setlock.Lock{Key: "k", Pool: pool, Lease: lease})
		locktest.Receive(t, c, 0)
		synctest.Wait()
		w.Network.Set(redistest.Faults{Refuse: true})
		f := &forger{w, dead.Fence()}
		for range 60 {
			f.forge()
			locktest.Receive(t, c, 0)
			time.Sleep(lease / 20)
		}
		w.Network.Set(redistest.Faults{})
		took := f.until(t, c, lease/20, lease)
		locktest.Between(t, "noticed after", took, 0, lease/2)
	})
}

// A watch that cannot ask Redis reports the holder until its remaining time has run out, and then
// nobody, whether the holder lives or not.
func TestWatchWithoutRedisReportsNobodyInTheEnd(t *testing.T) {
	for name, faults := range map[string]redistest.Faults{"refused": {Refuse: true}, "silent": redistest.Silent} {
		for _, age := range []time.Duration{lease / 10, lease / 2, lease * 9 / 10} {
			t.Run(fmt.Sprint(name, age), func(t *testing.T) {
				locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
					a, b := w.Direct(lease), w.Lock(lease)
					locktest.MustLock(t, a, lease)
					c := locktest.Watch(t, b)
					locktest.SeesHold(t, c, a, 0)
					time.Sleep(age)
					w.Network.Set(faults)
					if faults.Refuse {
						w.Network.Reset()
					}
					locktest.MustRenew(t, a, time.Hour)
					start := time.Now()
					locktest.SeesNobody(t, c, 2*lease)
					left := lease - age
					locktest.Between(t, "nobody after", time.Since(start), left, left+lease/4)
					locktest.Quiet(t, c, 10*lease)
					w.Network.Set(redistest.Faults{})
					locktest.SeesHold(t, c, a, lease)
					locktest.MustUnlock(t, a)
					locktest.SeesNobody(t, c, lease)
				})
			})
		}
	}
}

// One look that fails proves nothing: its connection may have been broken for long. The watch looks
// again before it reports nobody.
func TestWatchOutlivesABrokenConnection(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Lock(lease)
		locktest.MustDo(t, a, func(context.Context) error {
			c := locktest.Watch(t, b)
			locktest.SeesHold(t, c, a, 0)
			looks := w.Server.Count("look")
			var broken atomic.Int64
			for range 100 {
				w.Network.Next(func(request []byte) bool {
					if !locktest.Sends("look")(request) {
						return false
					}
					broken.Add(1)
					return true
				}, redistest.Swallow)
				locktest.Quiet(t, c, lease)
			}
			if broken.Load() < 30 || looks() < 30 {
				t.Errorf("%d looks were broken and %d succeeded, want many", broken.Load(), looks())
			}
			return nil
		})
	})
}

// A watch of a Lock whose own Do lives reports this Do, even if the watch cannot ask Redis.
func TestWatchWithoutRedisReportsItsOwnDo(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		w.Server.Forbid("SUBSCRIBE") // so that the watch looks at its own Do
		locktest.MustDo(t, l, func(context.Context) error {
			c := locktest.Watch(t, l)
			locktest.SeesHold(t, c, l, 0)
			w.Server.Refuse("ERR x", nil, "look")
			locktest.Quiet(t, c, 10*lease)
			return nil
		})
	})
}
