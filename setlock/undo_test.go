package setlock_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestInterruptedAcquisitionIsUndone(t *testing.T) {
	for name, faults := range map[string]redistest.Faults{
		"replies lost":            {LoseReplies: true},
		"replies held":            {HoldReplies: true},
		"requests held":           {HoldRequests: true},
		"on its connection alone": {HoldRequests: true, Refuse: true},
		"silent":                  redistest.Silent,
	} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				l := w.Lock(lease)
				locktest.LoadScripts(t, l)
				w.Network.Set(faults)
				took := locktest.TimesOut(t, 300*time.Millisecond, locktest.Acquires(l, time.Minute))
				locktest.Between(t, "Lock returned after", took, 300*time.Millisecond, 320*time.Millisecond)
				time.Sleep(3 * time.Second)
				// Requests that were held arrive, also from connections that the client has closed.
				w.Network.Set(redistest.Faults{})
				synctest.Wait()
				if w.Server.Exists("k") {
					t.Error("an acquisition that nobody waits for remains")
				}
			})
		})
	}
}

func TestBrokenAcquisitionIsUndone(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.LoadScripts(t, l)
		w.Network.Set(redistest.Faults{HoldReplies: true})
		time.AfterFunc(time.Second, func() {
			w.Network.Set(redistest.Faults{LoseReplies: true})
			w.Network.Reset()
			w.Network.Set(redistest.Faults{})
		})
		_, err := l.Lock(t.Context(), time.Minute)
		locktest.Fails(t, "Lock", err)
		if w.Server.Exists("k") {
			t.Error("an acquisition whose connection broke remains")
		}
	})
}

// A slowToClose connection takes its time to close, as a connection over TLS may.
type slowToClose struct {
	redis.Conn
	close func()
}

func (c slowToClose) Close() error {
	c.close()
	return c.Conn.Close()
}

func TestAcquisitionThatComesAsItsCallerLeaves(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var once sync.Once
		l := w.Direct(lease)
		l.Pool.MaxIdle = 0 // a connection that is given back is closed
		locktest.Wrap(l.Pool, func(conn redis.Conn) redis.Conn {
			return slowToClose{conn, func() {
				once.Do(func() { cancel(); time.Sleep(20 * time.Millisecond) })
			}}
		})
		_, err := l.Lock(ctx, time.Hour)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Lock = %v, want the end of its context", err)
		}
		time.Sleep(time.Second)
		if w.Server.Exists("k") {
			t.Error("an acquisition that its caller does not know of remains")
		}
	})
}

// A call with a context returns when the context ends, on a real Redis that is stopped.
func TestStoppedServer(t *testing.T) {
	s := redistest.NewServer(t)
	l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, s.Dial), Lease: time.Second}
	locktest.LoadScripts(t, l)
	s.Pause()
	locktest.TimesOut(t, 300*time.Millisecond, locktest.Acquires(l, time.Minute))
	s.Continue()
	// The server runs what it was sent: the acquisition, and the undo behind it.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		h, err := l.Holder(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if h.Nobody() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("an acquisition that nobody waits for remains")
		}
	}
}

// An acquisition that was undone on the primary alone remains on a replica that is promoted.
func TestUndoneAcquisitionOnAPromotedReplica(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(t *testing.T, l *setlock.Lock){
		"adopted":  func(t *testing.T, l *setlock.Lock) { locktest.MustLock(t, l, time.Minute) },
		"released": func(t *testing.T, l *setlock.Lock) { locktest.MustUnlock(t, l) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := redistest.NewServer(t)
			promoted, stopped := redistest.NewReplica(t, primary.Addr), redistest.NewReplica(t, primary.Addr)
			redistest.AwaitReplicas(t, primary.Dial, 2)
			at := primary
			pool := redistest.Pool(t, func(ctx context.Context) (net.Conn, error) { return at.Dial(ctx) })
			pool.MaxIdle = 0
			l := &setlock.Lock{Key: "k", Pool: pool, Lease: 12 * time.Second, Replicas: 2}
			other := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, promoted.Dial)}
			stopped.Pause()
			failed := make(chan error)
			go func() { // waits for the replica that is stopped
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
			if locktest.HasKey(t, primary.Dial) {
				t.Error("not undone on the old primary")
			}
			primary.Kill()
			stopped.Kill()
			at = promoted
			redistest.NewReplica(t, promoted.Addr)
			redistest.NewReplica(t, promoted.Addr)
			redistest.AwaitReplicas(t, promoted.Dial, 2)
			next(t, l)
		})
	}
}
