package setlock_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A connection to a server that does not serve is not given back to its pool. So the pool
// dials anew, and finds the server that serves.

var astray = []string{
	"READONLY You can't write against a read only replica.",
	"@user_script: 44: -READONLY You can't write against a read only replica.", // Redis 5 and 6
	"MOVED 7629 127.0.0.1:6381",
	"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
	"CLUSTERDOWN The cluster is down",
	"LOADING Redis is loading the dataset in memory",
}

// twoServers returns a Lock whose pool has a connection to old, and dials good from now on.
func twoServers(t *testing.T) (old, good *locktest.Server, network *redistest.Network, l *setlock.Lock) {
	old, good = locktest.NewServer(t), locktest.NewServer(t)
	network = redistest.NewNetwork(t, old.Dial)
	var moved atomic.Bool
	pool := redistest.Pool(t, func(ctx context.Context) (net.Conn, error) {
		if moved.Load() {
			return good.Dial(ctx)
		}
		return network.Dial(ctx)
	})
	l = &setlock.Lock{Key: "k", Pool: pool, Lease: lease}
	locktest.LoadScripts(t, l)
	moved.Store(true)
	return old, good, network, l
}

func TestPoolFindsTheServerThatServes(t *testing.T) {
	for _, answer := range astray {
		t.Run(strings.Fields(answer)[0], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				old, good, _, l := twoServers(t)
				old.SetError(answer)
				if _, err := l.Lock(t.Context(), lease); err == nil {
					t.Error("Lock = nil on a server that does not serve")
				}
				locktest.MustLock(t, l, lease)
				if !good.Exists("k") {
					t.Error("acquired elsewhere")
				}
			})
		})
	}
	t.Run("passing fault", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			old, _, _, l := twoServers(t)
			old.SetError("MISCONF Redis is configured to save RDB snapshots")
			l.Lock(t.Context(), lease)
			if got := l.Pool.IdleCount(); got != 1 {
				t.Errorf("%d idle connections after a passing fault, want the one that there was", got)
			}
		})
	})
}

func TestPoolFindsTheServerAfterItsCallerHasLeft(t *testing.T) {
	for _, answer := range astray {
		t.Run(strings.Fields(answer)[0], func(t *testing.T) {
			for name, call := range map[string]func(*setlock.Lock, context.Context) error{
				"acquisition": func(l *setlock.Lock, ctx context.Context) error { _, err := l.Lock(ctx, lease); return err },
				"look":        func(l *setlock.Lock, ctx context.Context) error { _, err := l.Holder(ctx); return err },
			} {
				synctest.Test(t, func(t *testing.T) {
					old, _, network, l := twoServers(t)
					old.SetError(answer)
					network.Set(redistest.Faults{HoldReplies: true})
					ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
					defer cancel()
					if err := call(l, ctx); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("%s = %v, want a timeout", name, err)
					}
					network.Set(redistest.Faults{}) // the answer arrives, and the caller has left
					synctest.Wait()
					if got := l.Pool.IdleCount(); got != 0 {
						t.Errorf("%s: %d connections were given back", name, got)
					}
				})
			}
		})
	}
}

// Only the answer to the undo is that of a server that does not serve.
func TestPoolFindsTheServerAfterAnUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, good, network, l := twoServers(t)
		network.Set(redistest.Faults{HoldReplies: true})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		old.Refuse(astray[0], nil, "release")
		if _, err := l.Lock(ctx, lease); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock = %v, want a timeout", err)
		}
		network.Set(redistest.Faults{})
		time.Sleep(3 * time.Second)
		locktest.MustLock(t, l, lease)
		if !good.Exists("k") {
			t.Error("acquired through the connection that answered the undo")
		}
	})
}

// A wrapped connection cannot be interrupted. Its pool closes it, because it is in a state
// that the pool cannot reset.
func TestPoolFindsTheServerThroughWrappedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, good, _, l := twoServers(t)
		l.Pool.Close()
		var moved atomic.Bool
		l = &setlock.Lock{Key: "k", Lease: lease, Pool: &redis.Pool{MaxIdle: 4, DialContext: func(ctx context.Context) (redis.Conn, error) {
			at := old
			if moved.Load() {
				at = good
			}
			conn, err := at.Dial(ctx)
			return locktest.NewPlain(redis.NewConn(conn, 0, 0)), err
		}}}
		defer l.Pool.Close()
		locktest.LoadScripts(t, l)
		old.SetError(astray[0])
		moved.Store(true)
		if _, err := l.Lock(t.Context(), lease); err == nil {
			t.Error("Lock = nil on a server that does not serve")
		}
		locktest.MustLock(t, l, lease)
	})
}

func TestREADONLYFromAnOldScript(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		// As Redis 5 and 6 put it.
		w.Server.Refuse("@user_script: 44: -READONLY You can't write against a read only replica.", nil, locktest.Scripts...)
		if _, err := l.Lock(t.Context(), time.Second); err == nil {
			t.Error("Lock = nil on a replica")
		}
		if got := l.Pool.IdleCount(); got != 0 {
			t.Errorf("%d connections were given back that answered READONLY", got)
		}
	})
}
