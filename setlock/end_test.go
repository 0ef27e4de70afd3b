package setlock_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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

// A slowConn takes its time to notice that it is broken, and to close.
type slowConn struct {
	locktest.Wrapped
	renewing, open *atomic.Int32
	unsubscribes   func()
	renewal        bool        // what was sent last
	subscribed     atomic.Bool // was ever sent
	closed         atomic.Bool
}

func (c *slowConn) Send(command string, args ...any) error {
	c.renewal = locktest.Runs("renew", command, args...)
	if command == "SUBSCRIBE" {
		c.subscribed.Store(true)
	}
	return c.Conn.Send(command, args...)
}

func (c *slowConn) Receive() (any, error) {
	if c.renewal {
		c.renewing.Add(1)
		defer c.renewing.Add(-1)
	}
	reply, err := c.Conn.Receive()
	if c.Err() != nil {
		time.Sleep(time.Millisecond)
	}
	return reply, err
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

// The function of a Do returns while a renewal is on its way. The lock is released when that
// renewal has ended, and before the subscription has. Nothing is left when Do returns.
func TestReleaseComesAfterTheLastRenewal(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		var renewing, open atomic.Int32
		var ended atomic.Bool
		var once sync.Once
		released := make(chan struct{})
		l := w.Lock(lease)
		locktest.Wrap(l.Pool, func(conn redis.Conn) redis.Conn {
			open.Add(1)
			return &slowConn{Wrapped: locktest.Wrapped{Conn: conn}, renewing: &renewing, open: &open, unsubscribes: func() {
				select {
				case <-released:
				case <-time.After(time.Second):
					t.Error("the release waits for the end of the subscription")
				}
				ended.Store(true)
			}}
		})
		w.Server.Before(func() {
			once.Do(func() { close(released) })
			if renewing.Load() != 0 {
				t.Error("a release while a renewal waits for its reply")
			}
		}, "release")
		renewals := w.Server.Count("renew")
		w.Network.Next(locktest.Sends("renew"), redistest.Lose)
		locktest.MustDo(t, l, func(context.Context) error {
			time.Sleep(lease/20 + lease/100) // the first renewal is without a reply
			return nil
		})
		if got := renewals(); got != 1 || !ended.Load() || w.Server.Exists("k") {
			t.Errorf("%d renewals, subscription ended: %v, want 1, true", got, ended.Load())
		}
		if got, idle := open.Load(), l.Pool.IdleCount(); got != int32(idle) {
			t.Errorf("%d connections are open after Do, want the pool's %d", got, idle)
		}
	})
}
