package setlock_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// An orphan, an acquisition whose outcome is unknown, never blocks its own Lock. The next acquisition
// adopts the orphan, and Unlock releases it.

// orphaned has an acquisition of l arrive, and nothing else: no reply, and no undo.
func orphaned(t *testing.T, w *locktest.World, l *setlock.Lock) {
	t.Helper()
	w.Network.Set(redistest.Faults{LoseReplies: true})
	time.AfterFunc(time.Second-time.Millisecond, func() { w.Network.Set(redistest.Silent) })
	locktest.TimesOut(t, time.Second, locktest.Acquires(l, time.Minute))
	time.Sleep(10 * time.Second)
	w.Network.Reset()
	w.Network.Set(redistest.Faults{})
	if !w.Server.Exists("k") {
		t.Fatal("the acquisition was undone")
	}
}

// orphans has each of n acquisitions of l, for an hour, fail on a network of its own, with the
// request on its way. It returns these networks.
func orphans(t *testing.T, w *locktest.World, l *setlock.Lock, n int) []*redistest.Network {
	t.Helper()
	var networks []*redistest.Network
	dial := l.Pool.DialContext
	l.Pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
		network := redistest.NewNetwork(t, w.Server.Dial)
		network.Set(redistest.Faults{HoldRequests: true})
		networks = append(networks, network)
		conn, err := network.Dial(ctx)
		if err != nil {
			return nil, err
		}
		return redis.NewConn(conn, time.Second, time.Second), nil
	}
	l.Pool.MaxIdle = 0
	for range n {
		_, err := l.Lock(t.Context(), time.Hour)
		locktest.Fails(t, "Lock on a silent network", err)
	}
	l.Pool.DialContext = dial
	return networks
}

func TestLostReplyIsAdopted(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l, other := w.Lock(lease), w.Direct(lease)
		locktest.LoadScripts(t, l)
		orphaned(t, w, l)
		if _, err := other.Lock(t.Context(), time.Minute); err != setlock.ErrNotHeld {
			t.Fatalf("another's Lock = %v, want ErrNotHeld", err)
		}
		orphan, _ := other.Holder(t.Context())
		if l.Fence() != 0 {
			t.Error("Fence believes an acquisition without a reply")
		}
		locktest.MustLock(t, l, 2*time.Minute)
		h, err := other.Holder(t.Context())
		if err != nil || h.Fence != l.Fence() || h.Fence <= orphan.Fence {
			t.Errorf("Holder = %+v, %v, want our fence %d, more than the orphan's %d", h, err, l.Fence(), orphan.Fence)
		}
		if got := w.Server.TTL("k"); got != 2*time.Minute {
			t.Errorf("the key lives %v, want 2m", got)
		}
		locktest.MustUnlock(t, l)
	})
}

func TestUnlockReleasesAnAcquisitionWithoutReply(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.LoadScripts(t, l)
		orphaned(t, w, l)
		locktest.MustUnlock(t, l)
		if w.Server.Exists("k") {
			t.Error("the key exists after Unlock")
		}
		if err := l.Unlock(t.Context()); err != setlock.ErrNotHeld {
			t.Errorf("second Unlock = %v, want ErrNotHeld", err)
		}
	})
}

func TestLateAcquisitionIsAdoptedAfterAnUnlock(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		l.Pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
			conn, err := w.Network.Dial(ctx)
			if err != nil {
				return nil, err
			}
			return redis.NewConn(conn, time.Second, time.Second), nil
		}
		locktest.LoadScripts(t, l)
		w.Network.Set(redistest.Faults{HoldRequests: true, Refuse: true})
		if _, err := l.Lock(t.Context(), time.Hour); err == nil {
			t.Error("Lock = nil through a silent network")
		}
		direct := w.Direct(lease).Pool
		l.Pool.DialContext = direct.DialContext
		locktest.MustLock(t, l, time.Second)
		locktest.MustUnlock(t, l)
		w.Network.Set(redistest.Faults{}) // and the first acquisition arrives
		time.Sleep(time.Second)
		if !w.Server.Exists("k") {
			t.Fatal("the first acquisition did not arrive")
		}
		locktest.MustLock(t, l, time.Second)
	})
}

func TestManyLostAcquisitions(t *testing.T) {
	for _, n := range []int{9, 64} {
		for name, next := range map[string]func(t *testing.T, w *locktest.World, l *setlock.Lock){
			"adopted": func(t *testing.T, w *locktest.World, l *setlock.Lock) { locktest.MustLock(t, l, time.Minute) },
			"released": func(t *testing.T, w *locktest.World, l *setlock.Lock) {
				if err := l.Unlock(t.Context()); err != nil || w.Server.Exists("k") {
					t.Errorf("Unlock = %v, and the key exists: %v", err, w.Server.Exists("k"))
				}
			},
		} {
			t.Run(fmt.Sprintf("the first of %d is %s", n, name), func(t *testing.T) {
				locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
					locktest.LoadScripts(t, w.Direct(lease))
					l := w.Direct(lease)
					networks := orphans(t, w, l, n)
					networks[0].Set(redistest.Faults{}) // it arrives, and none of the others
					time.Sleep(time.Second)
					if !w.Server.Exists("k") {
						t.Fatal("the first acquisition did not arrive")
					}
					next(t, w, l)
				})
			})
		}
	}
}

func TestReleaseThatFailsIsAdopted(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.MustDo(t, l, func(context.Context) error {
			w.Disconnect()
			return nil
		})
		w.Network.Set(redistest.Faults{})
		if !w.Server.Exists("k") {
			t.Fatal("released through a network that refuses")
		}
		locktest.MustLock(t, l, time.Minute)
	})
}

func TestReleaseThatFailsAfterATimeWasSet(t *testing.T) {
	for name, set := range map[string]func(testing.TB, *setlock.Lock, time.Duration){
		"Extend": locktest.MustExtend,
		"Renew":  locktest.MustRenew,
	} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				l := w.Lock(lease)
				locktest.MustDo(t, l, func(context.Context) error {
					set(t, l, 10*time.Hour)
					w.Disconnect()
					return nil
				})
				time.Sleep(9 * time.Hour)
				w.Network.Set(redistest.Faults{})
				if !w.Server.Exists("k") {
					t.Fatal("the key has expired")
				}
				locktest.MustLock(t, l, time.Second)
			})
		})
	}
}

func TestReleaseWithoutAnAnswerOfItsScript(t *testing.T) {
	const onBorrow = "Goexit in TestOnBorrow" // of the pool: a connection outside of it can release
	for name, fault := range map[string]func(l *setlock.Lock, on *atomic.Bool){
		"Goexit in Dial": func(l *setlock.Lock, on *atomic.Bool) {
			l.Pool.MaxIdle = 0
			dial := l.Pool.DialContext
			l.Pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
				if on.Load() {
					runtime.Goexit() // as t.Fatal does
				}
				return dial(ctx)
			}
		},
		onBorrow: func(l *setlock.Lock, on *atomic.Bool) {
			l.Pool.TestOnBorrow = func(redis.Conn, time.Time) error {
				if on.Load() {
					runtime.Goexit()
				}
				return nil
			}
		},
		"a connection in MULTI": func(l *setlock.Lock, on *atomic.Bool) {
			l.Pool.MaxIdle = 0
			dial := l.Pool.DialContext
			l.Pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
				conn, err := dial(ctx)
				if err == nil && on.Load() {
					_, err = conn.Do("MULTI")
				}
				return conn, err
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				var on atomic.Bool
				l := w.Lock(lease)
				fault(l, &on)
				locktest.MustLock(t, l, time.Hour)
				on.Store(true)
				locktest.Fails(t, "Unlock", l.Unlock(t.Context()))
				on.Store(false)
				if !w.Server.Exists("k") {
					t.Fatal("released")
				}
				if err := l.Unlock(t.Context()); err != nil || w.Server.Exists("k") {
					t.Errorf("the next Unlock = %v, and the key exists: %v", err, w.Server.Exists("k"))
				}

				locktest.MustDo(t, l, func(ctx context.Context) error {
					on.Store(true)
					return nil
				})
				on.Store(false)
				if got, want := w.Server.Exists("k"), name != onBorrow; got != want {
					t.Fatalf("the key exists after Do: %v, want %v", got, want)
				}
				locktest.MustLock(t, l, time.Hour) // adopts what the Do could not release

				on.Store(true)
				other := &setlock.Lock{Key: "other", Pool: l.Pool}
				_, err := other.Lock(t.Context(), time.Hour)
				locktest.Fails(t, "Lock", err)
				on.Store(false)
				locktest.MustLock(t, other, time.Hour)
			})
		})
	}
}
