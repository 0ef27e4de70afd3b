package setlock_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestUnlockEndsTheWorkFirst(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		err := l.Do(t.Context(), func(ctx context.Context) error {
			w.Server.Before(func() {
				if ctx.Err() == nil {
					t.Error("released before the context of the function ended")
				}
			}, "release")
			locktest.MustUnlock(t, l)
			if w.Server.Exists("k") {
				t.Error("the key exists after Unlock")
			}
			locktest.UntilLost(t, ctx)
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) || !strings.Contains(err.Error(), "Unlock") {
			t.Errorf("Do = %v, want ErrLost that names Unlock", err)
		}
	})
}

func TestReleaseComesAfterTheWork(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		var working atomic.Bool
		var of atomic.Value // the context of the function
		w.Server.Before(func() {
			if working.Load() {
				t.Error("a release while the function runs")
			}
			if of.Load().(context.Context).Err() == nil {
				t.Error("a release before the context of the function has ended")
			}
		}, "release")
		for _, end := range []func(){func() {}, func() { w.Server.Del("k") }} {
			ctx, cancel := context.WithCancel(t.Context())
			l.Do(ctx, func(ctx context.Context) error {
				of.Store(ctx)
				working.Store(true)
				defer working.Store(false)
				time.Sleep(lease)
				cancel()
				end()
				time.Sleep(lease)
				return nil
			})
		}
		l.Do(t.Context(), func(ctx context.Context) error { // only Do ends ctx
			of.Store(ctx)
			return nil
		})
	})
}

// The function of a Do returns while a renewal is on its way and without a reply. The release does not
// wait for it, and does not wait for the end of the subscription. Nothing is left when Do returns.
func TestReleaseWaitsForNoRenewal(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		var open atomic.Int32
		var ended atomic.Bool
		released := make(chan struct{})
		l := w.Lock(lease)
		locktest.Wrap(l.Pool, func(conn redis.Conn) redis.Conn {
			open.Add(1)
			return &slowConn{Wrapped: locktest.Wrapped{Conn: conn}, open: &open, unsubscribes: func() {
				select {
				case <-released:
				case <-time.After(time.Second):
					t.Error("the release waits for the end of the subscription")
				}
				ended.Store(true)
			}}
		})
		w.Server.Before(sync.OnceFunc(func() { close(released) }), "release")
		renewals := w.Server.Count("renew")
		w.Network.Next(locktest.Sends("renew"), redistest.Lose)
		var returned time.Time
		locktest.MustDo(t, l, func(context.Context) error {
			time.Sleep(lease/20 + lease/100) // the first renewal is without a reply
			returned = time.Now()
			return nil
		})
		if got := renewals(); got != 1 || !ended.Load() || w.Server.Exists("k") {
			t.Errorf("%d renewals, subscription ended: %v, want 1, true", got, ended.Load())
		}
		if took := time.Since(returned); took > 10*time.Millisecond {
			t.Errorf("Do took %v to end, want some ms", took)
		}
		if got, idle := open.Load(), l.Pool.IdleCount(); got != int32(idle) {
			t.Errorf("%d connections are open after Do, want the pool's %d", got, idle)
		}
	})
}

// A renewal arrives after the release of its session. It neither brings the key back, nor touches the
// key of the next holder, nor is it taken for a loss.
func TestRenewalAfterTheRelease(t *testing.T) {
	for _, next := range []bool{false, true} {
		locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
			l, other := w.Lock(lease), w.Direct(lease)
			var direct atomic.Bool // connections that are dialled do not go through the network
			through, around := l.Pool.DialContext, other.Pool.DialContext
			l.Pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
				if direct.Load() {
					return around(ctx)
				}
				return through(ctx)
			}
			arrived := w.Server.Count("renew")
			locktest.MustDo(t, l, func(ctx context.Context) error {
				time.Sleep(lease) // idle connections, and all scripts
				w.Network.Set(redistest.Faults{HoldRequests: true})
				before := arrived()
				time.Sleep(lease/3 + lease/100) // a renewal is on its way
				if arrived() != before {
					t.Error("a renewal has arrived")
				}
				// The release goes another way.
				direct.Store(true)
				for range 2 {
					conn := l.Pool.Get() // none that is idle is left
					defer conn.Close()
				}
				return ctx.Err()
			})
			if w.Server.Exists("k") {
				t.Fatal("not released")
			}
			if next {
				locktest.MustLock(t, other, lease/2)
			}
			before := arrived()
			w.Network.Set(redistest.Faults{})
			synctest.Wait()
			if arrived() == before {
				t.Fatal("no renewal has arrived late")
			}
			if left := w.Server.TTL("k"); next && left != lease/2 || w.Server.Exists("k") != next {
				t.Errorf("the key lives %v, want that of the next holder untouched, or none", left)
			}
		})
	}
}

// A slowConn takes its time to close.
type slowConn struct {
	locktest.Wrapped
	open         *atomic.Int32
	unsubscribes func()
	subscribed   atomic.Bool // SUBSCRIBE was ever sent
	closed       atomic.Bool
}

func (c *slowConn) Send(command string, args ...any) error {
	if command == "SUBSCRIBE" {
		c.subscribed.Store(true)
	}
	return c.Conn.Send(command, args...)
}

func (c *slowConn) Close() error {
	if c.subscribed.Load() {
		c.unsubscribes()
	}
	err := c.Conn.Close()
	time.Sleep(time.Millisecond)
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return err
}
