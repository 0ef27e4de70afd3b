package setlock_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A call whose outcome is unknown is an error, and what it was about stays known.

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
			inBubble(t, func(t *testing.T, w *world) {
				var on atomic.Bool
				l := w.lock(lease)
				fault(l, &on)
				mustLock(t, l, time.Hour)
				on.Store(true)
				if err := l.Unlock(t.Context()); err == nil || err == setlock.ErrNotHeld {
					t.Errorf("Unlock = %v, want another error", err)
				}
				on.Store(false)
				if !w.server.Exists("k") {
					t.Fatal("released")
				}
				if err := l.Unlock(t.Context()); err != nil || w.server.Exists("k") {
					t.Errorf("the next Unlock = %v, and the key exists: %v", err, w.server.Exists("k"))
				}

				err := l.Do(t.Context(), func(ctx context.Context) error {
					on.Store(true)
					return nil
				})
				if err != nil {
					t.Errorf("Do = %v, want nil: the lock was not lost", err)
				}
				on.Store(false)
				if got, want := w.server.Exists("k"), name != onBorrow; got != want {
					t.Fatalf("the key exists after Do: %v, want %v", got, want)
				}
				mustLock(t, l, time.Hour) // adopts what the Do could not release

				on.Store(true)
				other := &setlock.Lock{Key: "other", Pool: l.Pool}
				if _, err := other.Lock(t.Context(), time.Hour); err == nil || err == setlock.ErrNotHeld {
					t.Errorf("Lock = %v, want another error", err)
				}
				on.Store(false)
				mustLock(t, other, time.Hour)
			})
		})
	}
}

// A key without expiry is given at least what its holder trusts.
func TestExtendNeverShortensWhatIsTrusted(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := pair(t, dial)
		left := func() time.Duration {
			ms, _ := redis.Int64(redistest.Do(t, dial, "PTTL", "k"), nil)
			return time.Duration(ms) * time.Millisecond
		}
		err := a.Do(t.Context(), func(ctx context.Context) error {
			redistest.Do(t, dial, "PERSIST", "k")
			if err := a.Extend(ctx, time.Millisecond); err != nil {
				t.Errorf("Extend: %v", err)
			}
			between(t, "remaining under a Do", left(), setlock.DefaultLease-time.Second, setlock.DefaultLease)
			time.Sleep(5 * time.Millisecond)
			if _, err := b.Lock(ctx, time.Minute); err != setlock.ErrNotHeld {
				t.Errorf("another's Lock = %v, want ErrNotHeld", err)
			}
			return context.Cause(ctx)
		})
		if err != nil {
			t.Errorf("Do: %v", err)
		}
		mustLock(t, a, time.Hour)
		redistest.Do(t, dial, "PERSIST", "k")
		if err := a.Extend(t.Context(), time.Second); err != nil {
			t.Errorf("Extend: %v", err)
		}
		between(t, "remaining of a plain hold", left(), time.Hour-time.Minute, time.Hour)
	})
}

func TestExtendWithoutReplyNeverShortensWhatIsTrusted(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l, other := w.lock(lease), w.direct(lease)
		mustLock(t, l, time.Hour)
		if err := l.Extend(t.Context(), time.Millisecond); err != nil { // loads the script
			t.Fatal(err)
		}
		redistest.Do(t, w.server.Dial, "PERSIST", "k")
		w.network.Next(script, redistest.Break)
		if err := l.Extend(t.Context(), time.Millisecond); err == nil {
			t.Error("Extend = nil, want that the connection broke")
		}
		for range 59 {
			time.Sleep(time.Minute)
			if _, err := other.Lock(t.Context(), time.Minute); err == nil && l.Fence() != 0 {
				t.Fatal("another holds the lock, and Fence is not 0")
			}
		}
	})
}

// Clocks do not run alike: a plain hold, too, is trusted for 0.9 of its time.
func TestFenceOfAPlainHoldEndsEarly(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(lease)
		for _, set := range []func() error{
			func() error { _, err := l.Lock(t.Context(), time.Minute); return err },
			func() error { return l.Renew(t.Context(), time.Minute) },
			func() error { return l.Extend(t.Context(), 54*time.Second) }, // 6 s are left
		} {
			if err := set(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(54*time.Second - 1)
			if l.Fence() == 0 {
				t.Error("Fence = 0 within 0.9 of the time")
			}
			time.Sleep(time.Nanosecond)
			if got := l.Fence(); got != 0 {
				t.Errorf("Fence = %d after 0.9 of the time, want 0", got)
			}
		}
	})
}

// The loss of another lock, under whose Do a call is made, is no loss of this one.
func TestLossOfAnotherLock(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(lease), w.direct(lease)
		b.Key = "b"
		held := &setlock.Lock{Key: "held", Pool: b.Pool}
		mustLock(t, held, time.Hour)
		err := a.Do(t.Context(), func(ctx context.Context) error {
			if err := a.Unlock(t.Context()); err != nil {
				t.Errorf("Unlock: %v", err)
			}
			for name, call := range calls(held, b) {
				err := call(ctx)
				if err == nil || errors.Is(err, setlock.ErrLost) {
					t.Errorf("%s under the ended context of another lock's Do = %v, want an error that is not ErrLost", name, err)
					continue
				}
				if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `"k": released by Unlock`) {
					t.Errorf("%s = %v, want context.Canceled, and why the context has ended", name, err)
				}
			}
			if err := a.Extend(ctx, time.Second); !errors.Is(err, setlock.ErrLost) && err != setlock.ErrNotHeld {
				t.Errorf("Extend of the lock that was lost = %v, want ErrLost", err)
			}
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) {
			t.Errorf("Do = %v, want ErrLost", err)
		}
	})
}

// A Dial that returns neither a connection nor an error is an error, on the helper's goroutine
// too.
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
		"Lock": func() error { _, err := l.Lock(ctx, time.Second); return err },
		"Lock without an end of its context": func() error {
			_, err := l.Lock(context.Background(), time.Second)
			return err
		},
		"Do": func() error { return l.Do(ctx, func(context.Context) error { return nil }) },
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
