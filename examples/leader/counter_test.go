package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/examples/leader/internal/timeline"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// onBoth runs test on an embedded server, and on a real one.
func onBoth(t *testing.T, test func(t *testing.T, dial redistest.Dialer)) {
	t.Run("embedded", func(t *testing.T) { test(t, redistest.NewEmbedded(t).Dial) })
	t.Run("server", func(t *testing.T) { test(t, redistest.NewServer(t).Dial) })
}

func TestCounterRefusesStaleFences(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		c := &counter{pool: redistest.Pool(t, dial), key: counterKey("k")}
		const now = 1795383561178069 // as large as fences are
		for i, test := range []struct{ fence, want int64 }{
			{1, 1}, {1, 2}, {5, 3}, {4, 0}, {1, 0}, {5, 4}, {now, 5}, {now - 1, 0}, {now + 1, 6}, {now, 0}, {5, 0}, {now + 1, 7},
		} {
			got, err := c.step(t.Context(), test.fence)
			if got != test.want || errors.Is(err, errStale) != (test.want == 0) || err != nil && test.want != 0 {
				t.Errorf("step %d with fence %d = %d, %v, want %d", i, test.fence, got, err, test.want)
			}
		}
		fields, err := redis.StringMap(redistest.Do(t, dial, "HGETALL", "{k}:counter"), nil)
		if want := strconv.Itoa(now + 1); err != nil || fields["count"] != "7" || fields["fence"] != want {
			t.Errorf("the counter is %v (%v), want count 7, fence %s", fields, err, want)
		}
		redistest.Do(t, dial, "SET", "{k}:counter", "foreign")
		if _, err := c.step(t.Context(), now+2); err == nil || errors.Is(err, errStale) {
			t.Errorf("a step on a foreign key = %v, want an error, and not errStale", err)
		}
	})
}

func TestCounterKey(t *testing.T) {
	for key, want := range map[string]string{"k": "{k}:counter", "a{k}b": "a{k}b:counter", "{": "{{}:counter"} {
		if got := counterKey(key); got != want {
			t.Errorf("counterKey(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := redistest.NewEmbedded(t)
		pool := redistest.Pool(t, server.Dial)
		var said []string
		c := &counter{pool: pool, key: "c", tell: func(e timeline.Event) timeline.Event { said = append(said, e.Text); return e }}
		lock := &setlock.Lock{Key: "k", Pool: pool}

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second/2)
		defer cancel()
		start := time.Now()
		if err := lock.Do(ctx, c.work); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("work = %v, want the error of its context", err)
		}
		if got := time.Since(start); got != 5*time.Second/2 {
			t.Errorf("work took %v, want 2.5s", got)
		}
		if want := "[counts 1 counts 2 counts 3]"; fmt.Sprint(said) != want {
			t.Errorf("said %v, want %s", said, want)
		}

		server.HSet("c", "fence", "8999999999999999") // of one who leads later
		start = time.Now()
		err := lock.Do(t.Context(), c.work)
		if !errors.Is(err, errStale) || time.Since(start) > time.Second {
			t.Errorf("work = %v after %v, want errStale at once", err, time.Since(start))
		}
		if got := server.HGet("c", "count"); got != "3" {
			t.Errorf("a stale fence made the count %s", got)
		}

		if err := c.work(t.Context()); err == nil || errors.Is(err, errStale) {
			t.Errorf("work without a fence = %v, want an error", err)
		}
	})
}
