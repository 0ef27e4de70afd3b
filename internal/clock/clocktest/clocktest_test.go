package clocktest_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"example.com/setlock/internal/clock/clocktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAdvanceRunsTimersInOrderAndStopsAtEach(t *testing.T) {
	fake := clocktest.New()
	start := fake.Now()
	var got []time.Duration
	record := func() { got = append(got, fake.Now().Sub(start)) }
	fake.AfterFunc(3*time.Second, record)
	fake.AfterFunc(time.Second, func() {
		record()
		fake.AfterFunc(time.Second, record) // due on the way
	})
	fake.AfterFunc(5*time.Second, record) // not due yet
	fake.Advance(4 * time.Second)
	want := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}
	if !slices.Equal(got, want) {
		t.Errorf("timers ran at %v, want %v", got, want)
	}
	if got := fake.Now().Sub(start); got != 4*time.Second {
		t.Errorf("clock stands at %v, want 4s", got)
	}
	if got := fake.Timers(); got != 1 {
		t.Errorf("%d timers are running, want 1", got)
	}
}

func TestTimersDueTogetherRunInTheOrderOfTheirStart(t *testing.T) {
	fake := clocktest.New()
	var got []int
	for i := range 5 {
		fake.AfterFunc(time.Second, func() { got = append(got, i) })
	}
	fake.Advance(time.Second)
	if want := []int{0, 1, 2, 3, 4}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestSuspendMovesNowAndLeavesTimersAlone(t *testing.T) {
	fake := clocktest.New()
	start := fake.Now()
	timer := fake.NewTimer(time.Second)
	fake.Suspend(time.Hour)
	if got := fake.Now().Sub(start); got != time.Hour {
		t.Errorf("Now moved by %v, want 1h", got)
	}
	select {
	case <-timer.C():
		t.Error("a timer ran while suspended")
	default:
	}
	fake.Advance(time.Second)
	select {
	case at := <-timer.C():
		if got := at.Sub(start); got != time.Hour+time.Second {
			t.Errorf("timer saw %v, want 1h1s", got)
		}
	default:
		t.Error("the timer did not run a second later")
	}
}

func TestStopAndReset(t *testing.T) {
	fake := clocktest.New()
	timer := fake.NewTimer(time.Second)
	if !timer.Stop() {
		t.Error("Stop of a running timer = false")
	}
	if timer.Stop() {
		t.Error("Stop of a stopped timer = true")
	}
	fake.Advance(time.Second)
	timer.Reset(time.Second)
	fake.Advance(time.Second)
	if timer.Reset(time.Second) {
		t.Error("Reset of a timer that ran = true")
	}
	select {
	case <-timer.C():
		t.Error("a stale value after Reset")
	default:
	}
	fake.Advance(time.Second)
	select {
	case <-timer.C():
	default:
		t.Error("no value after Reset")
	}
}

func TestWall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := clocktest.NewWall()
		start := wall.Now()
		for _, step := range []time.Duration{time.Hour, -3 * time.Hour, 2 * time.Hour} {
			wall.Step(step)
			time.Sleep(time.Second)
		}
		wall.Step(-time.Minute)
		now := wall.Now()
		if got := now.Sub(start); got != 3*time.Second {
			t.Errorf("the monotonic clock has moved by %v, want 3s", got)
		}
		if got := now.Round(0).Sub(start.Round(0)); got != 3*time.Second-time.Minute {
			t.Errorf("the wall clock has moved by %v, want -57s", got)
		}
	})
}
