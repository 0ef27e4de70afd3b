package clock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"go.uber.org/goleak"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/clock/clocktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// skew moves the monotonic reading of t alone, as no call of package time does.
// A time.Time is its wall word, its ext word and a location; with a monotonic
// reading, ext holds the nanoseconds since the process started.
func skew(t time.Time, d time.Duration) time.Time {
	type layout struct {
		wall uint64
		ext  int64
		loc  *time.Location
	}
	(*layout)(unsafe.Pointer(&t)).ext += int64(d)
	return t
}

func TestElapsedIsTheLarger(t *testing.T) {
	from := time.Now()
	if from.Round(0) == from {
		t.Fatal("time.Now has no monotonic reading")
	}
	for _, test := range []struct {
		name            string
		monotonic, wall time.Duration
		want            time.Duration
	}{
		{"nothing", 0, 0, 0},
		{"both", time.Second, time.Second, time.Second},
		{"suspended: the wall clock alone went on", time.Second, time.Hour, time.Hour},
		{"wall clock set back", time.Second, -time.Hour, time.Second},
		{"wall clock set forward", time.Second, 2 * time.Second, 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			to := skew(from.Add(test.wall), test.monotonic-test.wall)
			if got := clock.Elapsed(from, to); got != test.want {
				t.Errorf("Elapsed = %v, want %v", got, test.want)
			}
		})
	}
}

func TestSystemInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := clock.System.Now()
		timer := clock.System.NewTimer(time.Hour)
		if got := (<-timer.C()).Sub(start); got != time.Hour {
			t.Errorf("timer fired after %v, want %v", got, time.Hour)
		}
		fired := make(chan time.Time, 1)
		clock.System.AfterFunc(time.Minute, func() { fired <- time.Now() })
		if got := (<-fired).Sub(start); got != time.Hour+time.Minute {
			t.Errorf("function ran after %v, want %v", got, time.Hour+time.Minute)
		}
	})
}

func TestContextCarriesTheClock(t *testing.T) {
	if got := clock.FromContext(t.Context()); got != clock.System {
		t.Errorf("FromContext of a plain context = %v, want System", got)
	}
	fake := clocktest.New()
	ctx := clock.NewContext(t.Context(), fake)
	if got := clock.FromContext(ctx); got != clock.Clock(fake) {
		t.Errorf("FromContext = %v, want the fake", got)
	}
}

func TestWithTimeout(t *testing.T) {
	fake := clocktest.New()
	ctx, cancel := clock.WithTimeout(clock.NewContext(t.Context(), fake), time.Second)
	defer cancel()
	fake.Advance(time.Second - 1)
	if err := ctx.Err(); err != nil {
		t.Errorf("context ended early: %v", err)
	}
	fake.Advance(1)
	if ctx.Err() == nil || !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		t.Errorf("Err = %v, Cause = %v, want a context past its deadline", ctx.Err(), context.Cause(ctx))
	}

	ctx, cancel = clock.WithTimeout(clock.NewContext(t.Context(), fake), time.Second)
	cancel()
	if !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Errorf("Cause after cancel = %v, want %v", context.Cause(ctx), context.Canceled)
	}
	if n := fake.Timers(); n != 0 {
		t.Errorf("%d timers run after cancel, want none", n)
	}
}
