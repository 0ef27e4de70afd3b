package setlock_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// calls returns the calls that need Redis: of held, those of a holder, and of other, the rest.
func calls(held, other *setlock.Lock) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Lock":   func(ctx context.Context) error { _, err := other.Lock(ctx, time.Minute); return err },
		"Holder": func(ctx context.Context) error { _, err := other.Holder(ctx); return err },
		"Do":     func(ctx context.Context) error { return other.Do(ctx, func(context.Context) error { return nil }) },
		"Extend": func(ctx context.Context) error { return held.Extend(ctx, time.Minute) },
		"Renew":  func(ctx context.Context) error { return held.Renew(ctx, time.Minute) },
		"Unlock": func(ctx context.Context) error { return held.Unlock(ctx) },
	}
}

func TestWrongType(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := locktest.Pair(t, dial)
		locktest.MustLock(t, a, time.Minute)
		redistest.Do(t, dial, "DEL", "k")
		redistest.Do(t, dial, "LPUSH", "k", "x")
		for name, call := range calls(a, b) {
			err := call(t.Context())
			var answer redis.Error
			if !errors.As(err, &answer) || !strings.HasPrefix(answer.Error(), "WRONGTYPE") {
				t.Errorf("%s = %v, want one that wraps WRONGTYPE", name, err)
				continue
			}
			if !strings.Contains(err.Error(), `"k"`) || !strings.HasPrefix(err.Error(), "setlock: "+strings.ToLower(name)) {
				t.Errorf("%s = %q, want operation and key", name, err)
			}
		}
		if got, _ := redis.String(redistest.Do(t, dial, "LINDEX", "k", 0), nil); got != "x" {
			t.Error("the foreign list was touched")
		}
	})
}

func TestUnreachable(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		held, other := w.Lock(0), w.Lock(0)
		locktest.MustLock(t, held, time.Minute)
		w.Disconnect()
		for name, call := range calls(held, other) {
			// The first call meets the connection that was reset.
			call(t.Context())
			err := call(t.Context())
			if err == nil || err == setlock.ErrNotHeld || err == setlock.ErrAlreadyHeld {
				t.Errorf("%s = %v, want an error that is no sentinel", name, err)
				continue
			}
			if !strings.Contains(err.Error(), `"k"`) || !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("%s = %q, want the key and the cause", name, err)
			}
		}
	})
}

func TestRefusals(t *testing.T) {
	for _, refusal := range []string{
		"NOAUTH Authentication required.",
		"NOPERM this user has no permissions to run the 'evalsha' command",
		"READONLY You can't write against a read only replica.",
		"OOM command not allowed when used memory > 'maxmemory'.",
		"LOADING Redis is loading the dataset in memory",
		"CLUSTERDOWN The cluster is down",
		"MOVED 7629 127.0.0.1:6381",
		"ERR something nobody has heard of",
	} {
		locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
			held, other := w.Direct(0), w.Direct(0)
			locktest.MustLock(t, held, time.Minute)
			before := w.Server.Dump()
			w.Server.SetError(refusal)
			for name, call := range calls(held, other) {
				err := call(t.Context())
				var answer redis.Error
				if !errors.As(err, &answer) || answer.Error() != refusal || !strings.Contains(err.Error(), `"k"`) {
					t.Errorf("%s = %v, want one with the key that wraps %q", name, err, refusal)
				}
			}
			w.Server.SetError("")
			if after := w.Server.Dump(); after != before {
				t.Errorf("%s: the data changed from %s to %s", refusal, before, after)
			}
			locktest.MustUnlock(t, held)
		})
	}
}

func TestMisuse(t *testing.T) {
	s := redistest.NewEmbedded(t)
	pool := redistest.Pool(t, s.Dial)
	redistest.Do(t, s.Dial, "PING")
	before := s.CommandCount()
	for name, test := range map[string]struct {
		lock *setlock.Lock
		want string
	}{
		"no Key":            {&setlock.Lock{Pool: pool}, "no Key"},
		"no Pool":           {&setlock.Lock{Key: "k"}, "no Pool"},
		"no Dial":           {&setlock.Lock{Key: "k", Pool: &redis.Pool{}}, "a Pool without Dial"},
		"short Lease":       {&setlock.Lock{Key: "k", Pool: pool, Lease: 99 * time.Millisecond}, "Lease 99ms"},
		"negative Lease":    {&setlock.Lock{Key: "k", Pool: pool, Lease: -time.Second}, "Lease -1s"},
		"long Lease":        {&setlock.Lock{Key: "k", Pool: pool, Lease: setlock.MaxLease + 1}, "Lease 8760h0m0.000000001s"},
		"endless Lease":     {&setlock.Lock{Key: "k", Pool: pool, Lease: math.MaxInt64}, "Lease 2562047h47m16.854775807s"},
		"negative Replicas": {&setlock.Lock{Key: "k", Pool: pool, Replicas: -1}, "Replicas -1"},
	} {
		t.Run(name, func(t *testing.T) {
			for op, call := range calls(test.lock, test.lock) {
				if err := call(t.Context()); !errors.Is(err, setlock.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s = %v, want ErrInvalid that says %q", op, err, test.want)
				}
			}
			if _, open := <-test.lock.Watch(t.Context()); open {
				t.Error("Watch reports a holder")
			}
			if got := test.lock.Fence(); got != 0 {
				t.Errorf("Fence = %d, want 0", got)
			}
		})
	}
	l := &setlock.Lock{Key: "k", Pool: pool}
	if err := l.Do(t.Context(), nil); !errors.Is(err, setlock.ErrInvalid) || !strings.Contains(err.Error(), "no function") {
		t.Errorf("Do of nothing = %v, want one that says so", err)
	}
	if s.CommandCount() != before {
		t.Error("misuse reached Redis")
	}
	for _, lease := range []time.Duration{setlock.MinLease, setlock.MaxLease} {
		locktest.MustLock(t, &setlock.Lock{Key: lease.String(), Pool: pool, Lease: lease}, time.Minute)
	}
}

func TestContextThatHasEnded(t *testing.T) {
	s := redistest.NewEmbedded(t)
	held := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, s.Dial)}
	locktest.MustLock(t, held, time.Minute)
	before := s.CommandCount()
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for name, call := range calls(held, held) {
		if err := call(ctx); !errors.Is(err, why) || !strings.Contains(err.Error(), `"k"`) {
			t.Errorf("%s = %v, want one that wraps the cause of its context", name, err)
		}
	}
	if s.CommandCount() != before {
		t.Error("Redis was asked")
	}
	if held.Fence() == 0 {
		t.Error("the lock was dropped")
	}
}

// A call under the Do of another Lock fails when that lock is lost. Its error is not ErrLost.
func TestLossOfAnotherLock(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Direct(lease)
		b.Key = "b"
		held := &setlock.Lock{Key: "held", Pool: b.Pool}
		locktest.MustLock(t, held, time.Hour)
		locktest.MustLose(t, a, func(ctx context.Context) error {
			locktest.MustUnlock(t, a)
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
	})
}
