package setlock_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// One key is poisoned: its requests fail, every time. Only its session is lost.

func TestKeyOfAnotherType(t *testing.T) {
	for _, replicas := range []int{0, 1} {
		t.Run(fmt.Sprint("Replicas ", replicas), func(t *testing.T) {
			inCrowd(t, 100, replicas, func(t *testing.T, w *locktest.World, _ []*setlock.Lock, c *locktest.Crowd) {
				w.Server.Del("k50")
				w.Server.Lpush("k50", "x")
				start := time.Now()
				time.Sleep(3 * lease)
				c.MustLose("in three leases", "k50")
				loss := c.Lost()["k50"]
				if got := loss.At.Sub(start); got != lease/20 || !strings.Contains(loss.Err.Error(), "not ours") {
					t.Errorf("lost after %v: %v, want at its first renewal, and because the key is not ours", got, loss.Err)
				}
			})
		})
	}
}

// The poisoned request makes its connection hang, or breaks it. What was sent before it is
// answered.
func TestPoisonedRequest(t *testing.T) {
	for name, poison := range map[string]func(w *locktest.World, is func(args []string) bool){
		"its connection hangs": hangs,
		"its connection breaks": func(w *locktest.World, is func(args []string) bool) {
			w.Server.Answer(func(c *server.Peer, args []string) bool {
				if is(args) {
					c.Close()
					return true
				}
				return false
			}, "renew")
		},
	} {
		for _, n := range []int{2, 3, 100} {
			for _, at := range []int{0, n / 2, n - 1} {
				t.Run(fmt.Sprintf("%s, at %d of %d", name, at, n), func(t *testing.T) {
					inCrowd(t, n, 0, func(t *testing.T, w *locktest.World, _ []*setlock.Lock, c *locktest.Crowd) {
						var key atomic.Value // of the renewal at that place in the first batch
						is := nth(at + 1)
						w.Server.Before(func() {}, "renew")
						poison(w, func(args []string) bool {
							if is(args) {
								key.Store(locktest.KeyOf(args))
							}
							return locktest.KeyOf(args) == key.Load()
						})
						time.Sleep(5 * lease)
						c.MustLose("in five leases", key.Load().(string))
					})
				})
			}
		}
	}
}

// A proxy closes a connection when it reads the poisoned request. What was sent with it is lost,
// too, and nothing is answered.
func TestPoisonedRequestWithoutAnyAnswer(t *testing.T) {
	for _, n := range []int{2, 60, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				locktest.LoadScripts(t, w.Direct(lease))
				w.Server.Quick()
				w.Server.ClockTTL(false)
				w.Server.Forbid("SUBSCRIBE")
				pool := redistest.Pool(t, func(ctx context.Context) (net.Conn, error) {
					conn, err := w.Server.Dial(ctx)
					return &proxied{Conn: conn, poison: []byte("poison")}, err
				})
				locks := locktest.Locks(pool, "beside", n, lease)
				locks[n/2].Key = "poison"
				c := locktest.NewCrowd(t, locks...)
				time.Sleep(3 * lease)
				c.MustLose("in three leases", "poison")
			})
		})
	}
}

// A proxied connection breaks when a renewal of poison is sent. What is sent within a millisecond
// goes out together.
type proxied struct {
	net.Conn
	poison []byte

	mu   sync.Mutex
	sent []byte // since the last flush
}

var renews = locktest.Sends("renew")

func (c *proxied) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sent) == 0 {
		time.AfterFunc(time.Millisecond, c.flush)
	}
	c.sent = append(c.sent, p...)
	return len(p), nil
}

func (c *proxied) flush() {
	c.mu.Lock()
	sent := c.sent
	c.sent = nil
	c.mu.Unlock()
	if renews(sent) && bytes.Contains(sent, c.poison) {
		c.Conn.Close()
		return
	}
	c.Conn.Write(sent) // fails when the server has gone
}
