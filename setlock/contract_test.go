package setlock_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func pair(t *testing.T, dial redistest.Dialer) (a, b *setlock.Lock) {
	a = &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Owner: "a"}
	b = &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Owner: "b"}
	return a, b
}

func TestLockFree(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		for _, test := range []struct {
			d        time.Duration
			min, max int64 // milliseconds
		}{
			{time.Minute, 59_000, 60_000},
			{1500 * time.Microsecond, 0, 2},
			{time.Nanosecond, 0, 1},
			{0, 0, 1},
			{-time.Hour, 0, 1},
		} {
			l := &setlock.Lock{Key: fmt.Sprintf("k:%v", test.d), Pool: redistest.Pool(t, dial)}
			if left, err := l.Lock(t.Context(), test.d); left != 0 || err != nil {
				t.Errorf("Lock(%v) = %v, %v, want 0, nil", test.d, left, err)
			}
			pttl, _ := redis.Int64(redistest.Do(t, dial, "PTTL", l.Key), nil)
			if pttl != -2 && (pttl < test.min || pttl > test.max) {
				t.Errorf("after Lock(%v) PTTL = %d, want %d to %d", test.d, pttl, test.min, test.max)
			}
		}
	})
}

func TestLockRoundsUp(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(0)
		for d, want := range map[time.Duration]time.Duration{
			0:                       time.Millisecond,
			time.Nanosecond:         time.Millisecond,
			1500 * time.Microsecond: 2 * time.Millisecond,
			2 * time.Millisecond:    2 * time.Millisecond,
		} {
			mustLock(t, l, d)
			if got := w.server.TTL("k"); got != want {
				t.Errorf("Lock(%v): the key lives %v, want %v", d, got, want)
			}
			if err := l.Unlock(t.Context()); err != nil {
				t.Errorf("Unlock: %v", err)
			}
		}
	})
}

func TestLockHeld(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := pair(t, dial)
		mustLock(t, a, time.Minute)
		before, _ := redis.String(redistest.Do(t, dial, "GET", "k"), nil)

		left, err := b.Lock(t.Context(), time.Hour)
		if err != setlock.ErrNotHeld {
			t.Errorf("Lock of another's = %v, want ErrNotHeld itself", err)
		}
		between(t, "remaining time of another's", left, 50*time.Second, time.Minute)

		left, err = a.Lock(t.Context(), time.Hour)
		if err != setlock.ErrAlreadyHeld {
			t.Errorf("Lock of our own = %v, want ErrAlreadyHeld itself", err)
		}
		between(t, "remaining time of our own", left, 50*time.Second, time.Minute)

		if after, _ := redis.String(redistest.Do(t, dial, "GET", "k"), nil); after != before {
			t.Errorf("the key changed from %q to %q", before, after)
		}

		redistest.Do(t, dial, "PERSIST", "k")
		if left, err := b.Lock(t.Context(), time.Hour); left >= 0 || err != setlock.ErrNotHeld {
			t.Errorf("Lock of a key without expiry = %v, %v, want a negative duration, ErrNotHeld", left, err)
		}
		if left, err := a.Lock(t.Context(), time.Hour); left >= 0 || err != setlock.ErrAlreadyHeld {
			t.Errorf("Lock of our key without expiry = %v, %v, want a negative duration, ErrAlreadyHeld", left, err)
		}
	})
}

func TestRemainingTimeIsNeverZero(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(0), w.direct(0)
		mustLock(t, a, 10*time.Millisecond)
		time.Sleep(10*time.Millisecond - 300*time.Microsecond) // less than a millisecond is left
		if left, err := b.Lock(t.Context(), time.Second); left != time.Millisecond || err != setlock.ErrNotHeld {
			t.Errorf("Lock = %v, %v, want 1ms, ErrNotHeld", left, err)
		}
		if left, err := a.Lock(t.Context(), time.Second); left != time.Millisecond || err != setlock.ErrAlreadyHeld {
			t.Errorf("Lock = %v, %v, want 1ms, ErrAlreadyHeld", left, err)
		}
		if h, err := b.Holder(t.Context()); h.Remaining != time.Millisecond || err != nil {
			t.Errorf("Holder = %+v, %v, want 1ms remaining", h, err)
		}
	})
}

func TestExtendRenewUnlock(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := pair(t, dial)
		ctx := t.Context()
		pttl := func() time.Duration {
			ms, _ := redis.Int64(redistest.Do(t, dial, "PTTL", "k"), nil)
			return time.Duration(ms) * time.Millisecond
		}
		for name, call := range map[string]func(*setlock.Lock) error{
			"Extend": func(l *setlock.Lock) error { return l.Extend(ctx, time.Minute) },
			"Renew":  func(l *setlock.Lock) error { return l.Renew(ctx, time.Minute) },
			"Unlock": func(l *setlock.Lock) error { return l.Unlock(ctx) },
		} {
			if err := call(a); err != setlock.ErrNotHeld {
				t.Errorf("%s of a free lock = %v, want ErrNotHeld itself", name, err)
			}
		}

		mustLock(t, a, time.Minute)
		for name, call := range map[string]func(*setlock.Lock) error{
			"Extend": func(l *setlock.Lock) error { return l.Extend(ctx, time.Minute) },
			"Renew":  func(l *setlock.Lock) error { return l.Renew(ctx, time.Minute) },
			"Unlock": func(l *setlock.Lock) error { return l.Unlock(ctx) },
		} {
			if err := call(b); err != setlock.ErrNotHeld {
				t.Errorf("%s of another's = %v, want ErrNotHeld itself", name, err)
			}
		}
		between(t, "another's key after all that", pttl(), 50*time.Second, time.Minute)

		if err := a.Extend(ctx, time.Minute); err != nil {
			t.Errorf("Extend: %v", err)
		}
		between(t, "remaining after Extend", pttl(), 110*time.Second, 2*time.Minute)
		if err := a.Renew(ctx, time.Minute); err != nil {
			t.Errorf("Renew: %v", err)
		}
		between(t, "remaining after Renew", pttl(), 50*time.Second, time.Minute)
		redistest.Do(t, dial, "PERSIST", "k")
		if err := a.Extend(ctx, time.Minute); err != nil {
			t.Errorf("Extend without expiry: %v", err)
		}
		between(t, "remaining after Extend of no expiry", pttl(), 50*time.Second, time.Minute)
		if err := a.Unlock(ctx); err != nil {
			t.Errorf("Unlock: %v", err)
		}
		if got := redistest.Do(t, dial, "EXISTS", "k"); got != int64(0) {
			t.Error("the key exists after Unlock")
		}
		if err := a.Unlock(ctx); err != setlock.ErrNotHeld {
			t.Errorf("second Unlock = %v, want ErrNotHeld itself", err)
		}

		// What we believe to hold and have lost.
		for name, call := range map[string]func(*setlock.Lock) error{
			"Extend": func(l *setlock.Lock) error { return l.Extend(ctx, time.Minute) },
			"Renew":  func(l *setlock.Lock) error { return l.Renew(ctx, time.Minute) },
			"Unlock": func(l *setlock.Lock) error { return l.Unlock(ctx) },
		} {
			mustLock(t, a, time.Minute)
			redistest.Do(t, dial, "DEL", "k")
			mustLock(t, b, time.Minute)
			if err := call(a); err != setlock.ErrNotHeld {
				t.Errorf("%s after a theft = %v, want ErrNotHeld itself", name, err)
			}
			if got := a.Fence(); got != 0 {
				t.Errorf("%s: Fence after a theft = %d, want 0", name, got)
			}
			if err := b.Unlock(ctx); err != nil {
				t.Errorf("%s: the thief's Unlock: %v", name, err)
			}
		}
	})
}

func TestExtendAddsAtLeastAMillisecond(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(0)
		mustLock(t, l, time.Second)
		for range 3 {
			if err := l.Extend(t.Context(), 0); err != nil {
				t.Fatalf("Extend: %v", err)
			}
		}
		if got, want := w.server.TTL("k"), 1003*time.Millisecond; got != want {
			t.Errorf("the key lives %v, want %v", got, want)
		}
	})
}

func TestOwnerIsALabel(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := pair(t, dial)
		b.Owner = a.Owner
		mustLock(t, a, time.Minute)
		if _, err := b.Lock(t.Context(), time.Minute); err != setlock.ErrNotHeld {
			t.Errorf("Lock = %v, want ErrNotHeld", err)
		}
		if err := b.Unlock(t.Context()); err != setlock.ErrNotHeld {
			t.Errorf("Unlock = %v, want ErrNotHeld", err)
		}
		h, err := b.Holder(t.Context())
		if err != nil || h.Owner != "a" || h.Fence != a.Fence() || h.Fence == 0 {
			t.Errorf("Holder = %+v, %v, want a with its fence %d", h, err, a.Fence())
		}
		between(t, "Remaining", h.Remaining, 50*time.Second, time.Minute)
	})
}

func TestHolder(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := pair(t, dial)
		if h, err := b.Holder(t.Context()); h != (setlock.Holder{}) || err != nil || !h.Nobody() {
			t.Errorf("Holder of a free lock = %+v, %v, want nobody", h, err)
		}
		mustLock(t, a, time.Minute)
		redistest.Do(t, dial, "PERSIST", "k")
		if h, err := b.Holder(t.Context()); h.Remaining >= 0 || h.Owner != "a" || err != nil {
			t.Errorf("Holder of a key without expiry = %+v, %v", h, err)
		}
		for _, value := range []string{"", "foreign", "a:b", ":", strings.Repeat("A", 26), "\x00\xff", strings.Repeat("a", 26) + ":x"} {
			redistest.Do(t, dial, "SET", "k", value)
			h, err := b.Holder(t.Context())
			if err != nil || h.Owner != value || h.Fence != 0 || h.Nobody() {
				t.Errorf("Holder of a foreign %q = %+v, %v, want that as Owner and no fence", value, h, err)
			}
			if _, err := b.Lock(t.Context(), time.Minute); err != setlock.ErrNotHeld {
				t.Errorf("Lock of a foreign %q = %v, want ErrNotHeld", value, err)
			}
		}
	})
}

func TestFencesIncrease(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := pair(t, dial)
		last := int64(0)
		next := func(what string, l *setlock.Lock) {
			t.Helper()
			mustLock(t, l, time.Minute)
			if got := l.Fence(); got <= last {
				t.Errorf("%s: fence %d after %d", what, got, last)
			} else {
				last = got
			}
			if err := l.Unlock(t.Context()); err != nil {
				t.Fatalf("Unlock: %v", err)
			}
			if got := l.Fence(); got != 0 {
				t.Errorf("%s: Fence after Unlock = %d, want 0", what, got)
			}
		}
		next("first", a)
		next("another", b)
		next("the first again", a)
		time.Sleep(time.Millisecond)
		redistest.Do(t, dial, "FLUSHALL")
		next("after FLUSHALL", a)
		// A clock that was an hour ahead when the data was written.
		ahead := last + time.Hour.Microseconds()
		redistest.Do(t, dial, "SET", "{k}:fence", ahead)
		next("after the server's clock stepped back", b)
		if last != ahead+1 {
			t.Errorf("fence %d, want one more than what stood there, %d", last, ahead)
		}
	})
}

func TestFenceKeyOutlivesTheLockByAnHour(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(0)
		want := func(what string, d time.Duration) {
			t.Helper()
			if got := w.server.TTL("{k}:fence"); got != d {
				t.Errorf("%s: the fence key lives %v, want %v", what, got, d)
			}
		}
		mustLock(t, l, time.Minute)
		want("acquired", time.Hour+time.Minute)
		if err := l.Extend(t.Context(), time.Minute); err != nil {
			t.Error(err)
		}
		want("extended", time.Hour+2*time.Minute)
		if err := l.Renew(t.Context(), time.Second); err != nil {
			t.Error(err)
		}
		want("renewed", time.Hour+time.Second)

		w.server.Set("{k}:fence", "somebody else's")
		if err := l.Renew(t.Context(), time.Second); err != nil {
			t.Error(err)
		}
		want("not ours any more", 0)
	})
}

func TestFenceKeySharesTheSlot(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		for key, fence := range map[string]string{
			"plain":     "{plain}:fence",
			"{tag}:x":   "{tag}:x:fence",
			"x{tag}y":   "x{tag}y:fence",
			"open{only": "{open{only}:fence",
		} {
			l := &setlock.Lock{Key: key, Pool: redistest.Pool(t, dial)}
			mustLock(t, l, time.Minute)
			got, _ := redis.String(redistest.Do(t, dial, "GET", fence), nil)
			if got != strconv.FormatInt(l.Fence(), 10) {
				t.Errorf("key %q: %s holds %q, want the fence %d", key, fence, got, l.Fence())
			}
		}
	})
}

func TestForeignFenceIsAnErrorAndUntouched(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, _ := pair(t, dial)
		for _, value := range []string{"", "x", "-1", "1e3", "9007199254740993", "99999999999999999999", "1.5", " 1"} {
			redistest.Do(t, dial, "SET", "{k}:fence", value)
			_, err := a.Lock(t.Context(), time.Minute)
			if err == nil || err == setlock.ErrNotHeld || !strings.Contains(err.Error(), "foreign value in the fence key {k}:fence") {
				t.Errorf("Lock beside a fence %q = %v, want an error that says so", value, err)
			}
			if got, _ := redis.String(redistest.Do(t, dial, "GET", "{k}:fence"), nil); got != value {
				t.Errorf("the foreign fence %q became %q", value, got)
			}
		}
		redistest.Do(t, dial, "DEL", "{k}:fence")
		redistest.Do(t, dial, "LPUSH", "{k}:fence", "x")
		if _, err := a.Lock(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("Lock beside a fence of another type = %v, want WRONGTYPE", err)
		}
		if got := redistest.Do(t, dial, "EXISTS", "k"); got != int64(0) {
			t.Error("the lock was left behind")
		}
	})
}

func TestWrongType(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := pair(t, dial)
		mustLock(t, a, time.Minute)
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

// calls are the calls that need Redis, those of a holder on held.
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

func TestUnreachable(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		held, other := w.lock(0), w.lock(0)
		mustLock(t, held, time.Minute)
		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		for name, call := range calls(held, other) {
			// The first meets the connection that was reset.
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
		inBubble(t, func(t *testing.T, w *world) {
			held, other := w.direct(0), w.direct(0)
			mustLock(t, held, time.Minute)
			before := w.server.Dump()
			w.server.SetError(refusal)
			for name, call := range calls(held, other) {
				err := call(t.Context())
				var answer redis.Error
				if !errors.As(err, &answer) || answer.Error() != refusal || !strings.Contains(err.Error(), `"k"`) {
					t.Errorf("%s = %v, want one with the key that wraps %q", name, err, refusal)
				}
			}
			w.server.SetError("")
			if after := w.server.Dump(); after != before {
				t.Errorf("%s: the data changed from %s to %s", refusal, before, after)
			}
			if err := held.Unlock(t.Context()); err != nil {
				t.Errorf("Unlock after %s: %v", refusal, err)
			}
		})
	}
}

func TestMisuse(t *testing.T) {
	server := redistest.NewEmbedded(t)
	pool := redistest.Pool(t, server.Dial)
	redistest.Do(t, server.Dial, "PING")
	before := server.CommandCount()
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
				if err := call(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s = %v, want one that says %q", op, err, test.want)
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
	if err := l.Do(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no function") {
		t.Errorf("Do of nothing = %v, want one that says so", err)
	}
	if server.CommandCount() != before {
		t.Error("misuse reached Redis")
	}
}

func TestContextThatHasEnded(t *testing.T) {
	server := redistest.NewEmbedded(t)
	held := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, server.Dial)}
	mustLock(t, held, time.Minute)
	before := server.CommandCount()
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for name, call := range calls(held, held) {
		if err := call(ctx); !errors.Is(err, why) || !strings.Contains(err.Error(), `"k"`) {
			t.Errorf("%s = %v, want one that wraps the cause of its context", name, err)
		}
	}
	if server.CommandCount() != before {
		t.Error("Redis was asked")
	}
	if held.Fence() == 0 {
		t.Error("the lock was dropped")
	}
}

func TestScriptsAreLoadedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, _ := pair(t, dial)
		for range 2 {
			mustLock(t, a, time.Minute)
			redistest.Do(t, dial, "SCRIPT", "FLUSH")
			if err := a.Extend(t.Context(), time.Minute); err != nil {
				t.Errorf("Extend: %v", err)
			}
			redistest.Do(t, dial, "SCRIPT", "FLUSH")
			if err := a.Unlock(t.Context()); err != nil {
				t.Errorf("Unlock: %v", err)
			}
			redistest.Do(t, dial, "SCRIPT", "FLUSH")
		}
	})
}
