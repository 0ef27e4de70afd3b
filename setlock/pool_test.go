package setlock_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/setlock"
)

// What a Pool does to a call: it is exhausted, stuck in Dial or closed, or its Dial panics.

func TestExhaustedPoolCostsNothing(t *testing.T) {
	for name, wait := range map[string]bool{"waits": true, "refuses": false} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				l := w.Lock(lease)
				l.Pool.MaxActive, l.Pool.MaxIdle, l.Pool.Wait = 1, 1, wait
				locktest.MustDo(t, l, func(ctx context.Context) error {
					conn := l.Pool.Get()
					defer conn.Close()
					time.Sleep(10 * lease)
					return ctx.Err()
				})
				if w.Server.Exists("k") {
					t.Error("not released")
				}
			})
		})
	}
}

func TestPoolOfOneConnection(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		l.Pool.MaxActive, l.Pool.MaxIdle, l.Pool.Wait = 1, 1, true
		ctx, cancel := context.WithCancel(t.Context())
		watch := l.Watch(ctx)
		<-watch
		locktest.MustDo(t, l, func(ctx context.Context) error {
			time.Sleep(5 * lease)
			return ctx.Err()
		})
		cancel()
		for range watch {
		}
	})
}

func TestStuckDial(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		stuck := make(chan struct{})
		var block atomic.Bool
		l := w.Lock(lease)
		dial := l.Pool.DialContext
		l.Pool.DialContext = nil
		l.Pool.Dial = func() (redis.Conn, error) {
			if block.Load() {
				<-stuck
			}
			return dial(context.Background())
		}
		var returned time.Time
		locktest.MustLose(t, l, func(ctx context.Context) error {
			time.Sleep(2 * lease)
			start := time.Now()
			block.Store(true)
			w.Network.Reset()
			locktest.Between(t, "lost after", locktest.UntilLost(t, ctx).Sub(start), lease/2, lease*9/10)
			returned = time.Now()
			return nil
		})
		locktest.Between(t, "Do returned after its function by", time.Since(returned), 0, lease/6+20*time.Millisecond)

		for _, d := range []time.Duration{0, 300 * time.Millisecond} {
			took := locktest.TimesOut(t, d, locktest.Acquires(l, time.Second))
			locktest.Between(t, "Lock returned after", took, d, d)
		}
		commands := w.Server.CommandCount()
		close(stuck)
		synctest.Wait()
		if got := w.Server.CommandCount(); got != commands {
			t.Errorf("helpers that nobody waits for sent %d commands", got-commands)
		}
	})
}

func TestClosedPool(t *testing.T) {
	for name, wait := range map[string]bool{"waits": true, "refuses": false} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				l := w.Lock(lease)
				l.Pool.MaxActive, l.Pool.Wait = 4, wait
				locktest.MustDo(t, l, func(ctx context.Context) error {
					time.Sleep(lease)
					l.Pool.Close()
					time.Sleep(5 * lease) // renewals, and the release, do without the Pool
					return ctx.Err()
				})
				for range 100 {
					ctx, cancel := context.WithCancel(t.Context())
					go cancel()
					if _, err := l.Lock(ctx, time.Second); err == nil {
						t.Error("Lock on a closed pool succeeds")
					}
				}
			})
		})
	}
}

func TestDialThatPanicsGoesOn(t *testing.T) {
	l := &setlock.Lock{Key: "k", Pool: &redis.Pool{Wait: true, MaxActive: 1, Dial: func() (redis.Conn, error) { panic("why") }}}
	defer func() {
		if r := recover(); r != "why" {
			t.Errorf("recovered %v, want why", r)
		}
	}()
	l.Lock(context.Background(), time.Second)
}

// A call with a context dials in a helper's goroutine. A panic of Dial there ends the process, as
// every panic does that is not recovered.
func TestDialThatPanicsInAHelperEndsTheProcess(t *testing.T) {
	if os.Getenv("SETLOCK_TEST_PANIC") != "" {
		ctx, cancel := context.WithCancel(t.Context())
		l := &setlock.Lock{Key: "k", Pool: &redis.Pool{Wait: true, MaxActive: 1, Dial: func() (redis.Conn, error) {
			cancel()
			panic("why")
		}}}
		l.Lock(ctx, time.Second)
		time.Sleep(time.Minute)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "SETLOCK_TEST_PANIC=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: why") {
		t.Errorf("the process ended with %v and %s, want the panic", err, out)
	}
}

// A Dial that returns neither a connection nor an error makes every call fail, also in a helper's
// goroutine.
func TestDialThatReturnsNothing(t *testing.T) {
	if os.Getenv("SETLOCK_TEST_NIL") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "SETLOCK_TEST_NIL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	l := &setlock.Lock{Key: "k", Lease: setlock.MinLease, Pool: &redis.Pool{Dial: func() (redis.Conn, error) { return nil, nil }}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for name, call := range map[string]func() error{
		"Lock":                               func() error { return locktest.Acquires(l, time.Second)(ctx) },
		"Lock without an end of its context": func() error { return locktest.Acquires(l, time.Second)(context.Background()) },
		"Do":                                 func() error { return l.Do(ctx, locktest.NotCalled(t)) },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "no connection and no error") {
			t.Errorf("%s = %v, want one that names what Dial returned", name, err)
		}
	}
	watching, stop := context.WithTimeout(ctx, setlock.MinLease)
	defer stop()
	for h := range l.Watch(watching) {
		t.Errorf("saw %+v", h)
	}
}
