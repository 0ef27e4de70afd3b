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

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A connection that leads to a server that does not serve is not given back to its
// pool, so that the pool dials anew and finds the one that does.

var astray = []string{
	"READONLY You can't write against a read only replica.",
	"@user_script: 44: -READONLY You can't write against a read only replica.", // Redis 5 and 6
	"MOVED 7629 127.0.0.1:6381",
	"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
	"CLUSTERDOWN The cluster is down",
	"LOADING Redis is loading the dataset in memory",
}

// twoServers returns a Lock whose pool has a connection to old, and dials good from now on.
func twoServers(t *testing.T) (old, good *redistest.Embedded, network *redistest.Network, l *setlock.Lock) {
	old, good = redistest.NewEmbedded(t), redistest.NewEmbedded(t)
	network = redistest.NewNetwork(t, old.Dial)
	var moved atomic.Bool
	pool := redistest.Pool(t, func(ctx context.Context) (net.Conn, error) {
		if moved.Load() {
			return good.Dial(ctx)
		}
		return network.Dial(ctx)
	})
	l = &setlock.Lock{Key: "k", Pool: pool, Lease: lease}
	warm(t, l)
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
				mustLock(t, l, lease)
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

// A connection that answers the undo only as a server that does not serve.
func TestPoolFindsTheServerAfterAnUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, good, network, l := twoServers(t)
		network.Set(redistest.Faults{HoldReplies: true})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		old.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
			if cmd == "EVAL" { // an undo: the acquisition is sent by its hash
				c.WriteError(astray[0])
				return true
			}
			return false
		})
		if _, err := l.Lock(ctx, lease); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock = %v, want a timeout", err)
		}
		network.Set(redistest.Faults{})
		time.Sleep(3 * time.Second)
		mustLock(t, l, lease)
		if !good.Exists("k") {
			t.Error("acquired through the connection that answered the undo")
		}
	})
}

// A wrapped connection cannot be interrupted: it is ended by the server.
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
			return plain{redis.NewConn(conn, 0, 0)}, err
		}}}
		defer l.Pool.Close()
		warm(t, l)
		old.SetError(astray[0])
		moved.Store(true)
		if _, err := l.Lock(t.Context(), lease); err == nil {
			t.Error("Lock = nil on a server that does not serve")
		}
		mustLock(t, l, lease)
	})
}
