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

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// sees fails t unless c tells within d of each of ten acquisitions and releases by a.
func sees(t *testing.T, c <-chan setlock.Holder, a *setlock.Lock, d time.Duration) {
	t.Helper()
	for range 10 {
		time.Sleep(a.Lease / 5)
		mustLock(t, a, 24*time.Hour)
		if h := receive(t, c, d); h.Fence != a.Fence() {
			t.Errorf("saw %+v, want fence %d", h, a.Fence())
		}
		time.Sleep(a.Lease / 5)
		if err := a.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h := receive(t, c, d); !h.Nobody() {
			t.Errorf("saw %+v, want nobody", h)
		}
	}
}

// A connection for announcements that breaks again and again does not keep a watch from polling.
func TestWatchPollsWhileItsConnectionFlaps(t *testing.T) {
	for name, reply := range map[string]bool{"before the reply": false, "after the reply": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				const lease = 5 * time.Minute
				redistest.Do(t, w.server.Dial, "PING")
				w.server.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
					if cmd != "SUBSCRIBE" {
						return false
					}
					if reply {
						c.WriteLen(3)
						c.WriteBulk("subscribe")
						c.WriteBulk(args[0])
						c.WriteInt(1)
						c.Flush()
					}
					c.Close()
					return true
				})
				a, b := w.direct(lease), w.direct(lease)
				c := watch(t, b)
				receive(t, c, 0)
				sees(t, c, a, lease/10)
			})
		})
	}
}

// A tracedConn is a connection as a tracing library may wrap it: it cannot receive without the
// timeout of its dial.
type tracedConn struct{ redis.Conn }

func TestWatchPollsOnWrappedConnections(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const lease = 5 * time.Minute
		var dialled atomic.Int64
		pool := redistest.Pool(t, w.server.Dial)
		dial := pool.DialContext
		pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
			dialled.Add(1)
			conn, err := dial(ctx)
			return tracedConn{conn}, err
		}
		c := watch(t, &setlock.Lock{Key: "k", Pool: pool, Lease: lease})
		receive(t, c, 0)
		start := time.Now()
		sees(t, c, w.direct(lease), lease/10)
		if got, most := dialled.Load(), 3+int64(time.Since(start)/time.Minute); got > most {
			t.Errorf("dialled %d times in %v, want %d at most: no other connection will do", got, time.Since(start), most)
		}
	})
}

// A forger may publish and read the channel of w. It announces what has not happened, each time as
// what follows.
type forger struct {
	w     *world
	fence int64 // as those who believe it know
}

func (f *forger) forge() {
	f.w.server.Publish("setlock:k", fmt.Sprintf("acquired %d 3600000 %d ABCDEFGHIJKLMNOPQRSTUVWXYZ:forged", f.fence+1, f.fence))
	f.fence++
}

// until forges every pause until c tells of nobody, and returns how long that took; it fails the
// test after d.
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

// Whatever is announced, a look finds the truth within a lease.
func TestWatchLooksBehindForgedAnnouncements(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dead, b := w.direct(lease), w.direct(lease)
		mustLock(t, dead, 3*lease)
		c := watch(t, b)
		receive(t, c, 0)
		synctest.Wait()
		f := &forger{w, dead.Fence()}
		took := f.until(t, c, lease/2, 10*lease)
		between(t, "noticed after", took, 3*lease-time.Millisecond, 4*lease+10*time.Millisecond)
	})
}

// Whatever is announced, a look that has failed is tried again within half a lease.
func TestWatchTriesAgainBehindForgedAnnouncements(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		pool := redistest.Pool(t, w.network.Dial)
		pool.MaxIdle = 0 // what asks has to connect
		dead := w.direct(lease)
		mustLock(t, dead, lease)
		c := watch(t, &setlock.Lock{Key: "k", Pool: pool, Lease: lease})
		receive(t, c, 0)
		synctest.Wait()
		w.network.Set(redistest.Faults{Refuse: true})
		f := &forger{w, dead.Fence()}
		for range 60 {
			f.forge()
			receive(t, c, 0)
			time.Sleep(lease / 20)
		}
		w.network.Set(redistest.Faults{})
		took := f.until(t, c, lease/20, lease)
		between(t, "noticed after", took, 0, lease/2)
	})
}
