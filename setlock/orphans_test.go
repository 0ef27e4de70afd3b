package setlock_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A Lock is never blocked by an acquisition of its own whose outcome it does not know.

// loses has each of n acquisitions of l, for an hour, fail on a network of its own, with its request on the
// way. It returns those networks.
func (w *world) loses(l *setlock.Lock, n int) []*redistest.Network {
	w.t.Helper()
	var networks []*redistest.Network
	dial := l.Pool.DialContext
	l.Pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
		network := redistest.NewNetwork(w.t, w.server.Dial)
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
		if _, err := l.Lock(w.t.Context(), time.Hour); err == nil || err == setlock.ErrNotHeld {
			w.t.Fatalf("Lock on a silent network = %v", err)
		}
	}
	l.Pool.DialContext = dial
	return networks
}

func TestManyLostAcquisitions(t *testing.T) {
	for _, n := range []int{9, 64} {
		for name, next := range map[string]func(t *testing.T, w *world, l *setlock.Lock){
			"adopted": func(t *testing.T, w *world, l *setlock.Lock) { mustLock(t, l, time.Minute) },
			"released": func(t *testing.T, w *world, l *setlock.Lock) {
				if err := l.Unlock(t.Context()); err != nil || w.server.Exists("k") {
					t.Errorf("Unlock = %v, and the key exists: %v", err, w.server.Exists("k"))
				}
			},
		} {
			t.Run(fmt.Sprintf("the first of %d is %s", n, name), func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					warm(t, w.direct(lease))
					l := w.direct(lease)
					networks := w.loses(l, n)
					networks[0].Set(redistest.Faults{}) // it arrives, and none of the others
					time.Sleep(time.Second)
					if !w.server.Exists("k") {
						t.Fatal("the first acquisition did not arrive")
					}
					next(t, w, l)
				})
			})
		}
	}
}

func TestReleaseThatFailsAfterATimeWasSet(t *testing.T) {
	for name, set := range map[string]func(*setlock.Lock, context.Context) error{
		"Extend": func(l *setlock.Lock, ctx context.Context) error { return l.Extend(ctx, 10*time.Hour) },
		"Renew":  func(l *setlock.Lock, ctx context.Context) error { return l.Renew(ctx, 10*time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				l := w.lock(lease)
				if err := l.Do(t.Context(), func(ctx context.Context) error {
					if err := set(l, ctx); err != nil {
						t.Error(err)
					}
					w.network.Set(redistest.Faults{Refuse: true})
					w.network.Reset()
					return nil
				}); err != nil {
					t.Errorf("Do = %v, want nil: the lock was not lost", err)
				}
				time.Sleep(9 * time.Hour)
				w.network.Set(redistest.Faults{})
				if !w.server.Exists("k") {
					t.Fatal("the key has expired")
				}
				mustLock(t, l, time.Second)
			})
		})
	}
}

// An acquisition that was undone on the primary alone stands on a replica that is promoted.
func TestUndoneAcquisitionOnAPromotedReplica(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(t *testing.T, l *setlock.Lock){
		"adopted": func(t *testing.T, l *setlock.Lock) { mustLock(t, l, time.Minute) },
		"released": func(t *testing.T, l *setlock.Lock) {
			if err := l.Unlock(t.Context()); err != nil {
				t.Errorf("Unlock: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := redistest.NewServer(t)
			promoted, stopped := redistest.NewReplica(t, primary.Addr), redistest.NewReplica(t, primary.Addr)
			redistest.AwaitReplicas(t, primary.Dial, 2)
			at := primary
			pool := &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
				conn, err := at.Dial(ctx)
				if err != nil {
					return nil, err
				}
				return redis.NewConn(conn, 0, 0), nil
			}}
			l := &setlock.Lock{Key: "k", Pool: pool, Lease: 12 * time.Second, Replicas: 2}
			other := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, promoted.Dial)}
			stopped.Pause()
			failed := make(chan error)
			go func() { // waits for the one that is stopped
				_, err := l.Lock(t.Context(), time.Hour)
				failed <- err
			}()
			for h, err := other.Holder(t.Context()); h.Nobody(); h, err = other.Holder(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
			}
			redistest.Do(t, promoted.Dial, "REPLICAOF", "NO", "ONE")
			if err := <-failed; err == nil || errors.Is(err, setlock.ErrNotHeld) {
				t.Errorf("Lock = %v, want the shortfall", err)
			}
			if got := redistest.Do(t, primary.Dial, "EXISTS", "k"); got != int64(0) {
				t.Error("not undone on the old primary")
			}
			primary.Kill()
			stopped.Kill()
			at = promoted
			l.Replicas = 0 // there are none any more
			next(t, l)
		})
	}
}
