package election_test

import (
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// ends returns how many terms have ended.
func ends(s election.Stats) int64 { return s.Returned + s.Failed + s.Resigned + s.Lost + s.ShutDown }

// counters returns the counters of s by name.
func counters(s election.Stats) map[string]int64 {
	all := make(map[string]int64)
	for v, i := reflect.ValueOf(s), 0; i < v.NumField(); i++ {
		if n, ok := v.Field(i).Interface().(int64); ok && v.Type().Field(i).Name != "Fence" {
			all[v.Type().Field(i).Name] = n
		}
	}
	return all
}

// wentBack returns the name of a counter that is less in now than in before, or "".
func wentBack(before, now election.Stats) string {
	old := counters(before)
	for name, n := range counters(now) {
		if n < old[name] {
			return name
		}
	}
	return ""
}

// How each term ends is counted once, by its cause.
func TestStatsCountHowTermsEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var a *election.Election
		var how atomic.Value // a string
		a = w.candidate("a", func(ctx context.Context) error {
			switch how.Load() {
			case "Returned":
				return nil
			case "Failed":
				return errors.New("failure")
			case "Resigned":
				a.Resign()
			case "Lost":
				w.server.Del("k")
			case "ShutDown":
			}
			<-ctx.Done()
			return errors.New("failure")
		})
		want := make(map[string]int64)
		for run, cause := range []string{"Returned", "Failed", "Resigned", "Lost", "ShutDown", "ShutDown"} {
			how.Store(cause)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- a.Run(ctx) }()
			time.Sleep(50 * time.Millisecond) // less than the first step of the pace
			for end := time.Now().Add(lease); cause == "Lost" && a.Stats().Lost == 0 && time.Now().Before(end); {
				time.Sleep(time.Millisecond) // until the next renewal finds it
			}
			how.Store("ShutDown")
			cancel()
			<-done
			want[cause]++
			s := a.Stats()
			for _, cause := range []string{"Returned", "Failed", "Resigned", "Lost", "ShutDown"} {
				if got := counters(s)[cause]; got != want[cause] {
					t.Errorf("after %d runs: %s is %d, want %d", run+1, cause, got, want[cause])
				}
			}
			if s.Terms != int64(run)+1 || ends(s) != s.Terms || s.Leading || s.Trust != 0 || s.Overdue != 0 || s.Leader != "" {
				t.Errorf("after %d runs: %+v", run+1, s)
			}
		}
	})
}

// The figures of a leader, of its follower, and of both without Redis.
func TestStats(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		work, leave := ignoring()
		a, b := w.candidate("a", work), w.candidate("b", nil)
		if s := a.Stats(); s != (election.Stats{}) {
			t.Errorf("before Run: %+v", s)
		}
		w.network.Set(redistest.Faults{Delay: 10 * time.Millisecond})
		stop := start(t, a)
		time.Sleep(lease / 40)
		if s := a.Stats(); s.Trust < lease*8/10 || s.Trust > lease*9/10 || s.Renewals != 0 || !s.Leading {
			t.Errorf("before the first renewal: %+v", s)
		}
		stopB := start(t, b)
		time.Sleep(4 * lease)
		s, f := a.Stats(), b.Stats()
		if !s.Leading || s.Leader != "a" || s.Fence != a.Leader().Fence || s.Terms != 1 || ends(s) != 0 || s.Attempts != 1 || s.FailedAttempts != 0 ||
			s.Renewals < 12 || s.Renewals > 15 || s.FailedRenewals != 0 || s.RoundTrip != 20*time.Millisecond ||
			s.Trust < lease*9/10-lease/3-50*time.Millisecond || s.Trust > lease*9/10 ||
			time.Since(s.Accepted) > lease/3+50*time.Millisecond || !s.Seen.Equal(s.Accepted) || s.Overdue != 0 {
			t.Errorf("the leader: %+v", s)
		}
		if f.Leading || f.Leader != "a" || f.Fence != s.Fence || f.Terms != 0 || f.Attempts != 1 || f.FailedAttempts != 0 || f.Renewals != 0 ||
			f.Trust != 0 || f.RoundTrip != 0 || time.Since(f.Accepted) > lease || f.Seen.IsZero() {
			t.Errorf("the follower: %+v", f)
		}
		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		time.Sleep(lease / 2)
		if got := a.Stats(); got.FailedRenewals == 0 || got.Trust <= 0 || got.Trust > lease*9/10-lease/2 || !got.Accepted.Equal(s.Accepted) || !got.Leading {
			t.Errorf("the leader without Redis: %+v", got)
		}
		time.Sleep(2 * lease)
		got := a.Stats()
		if got.Leading || got.Trust != 0 || got.Overdue < lease || got.Overdue > 3*lease || got.Lost != 0 || got.Leader != "" {
			t.Errorf("the leader that was lost and does not stop: %+v", got)
		}
		if got := b.Stats(); got.FailedAttempts == 0 || got.Attempts != got.FailedAttempts+1 || got.Leader != "" || got.Seen.IsZero() {
			t.Errorf("the follower without Redis: %+v", got)
		}
		leave()
		synctest.Wait()
		if got := a.Stats(); got.Lost != 1 || ends(got) != 1 || got.Overdue != 0 {
			t.Errorf("after OnElected has returned: %+v", got)
		}
		w.network.Set(redistest.Faults{})
		stop()
		stopB()
	})
}

// Stats is cheap enough to be called every second for each of 10,000 elections.
func TestStatsAllocateNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		stop := start(t, a)
		synctest.Wait()
		if n := testing.AllocsPerRun(100, func() { a.Stats() }); n != 0 {
			t.Errorf("%v allocations, want none", n)
		}
		stop()
	})
}

func BenchmarkStats(b *testing.B) {
	pool, stop := newPool()
	defer stop()
	e := &election.Election{Lock: &setlock.Lock{Key: "k", Pool: pool}}
	e.OnElected = func(context.Context) error {
		for b.Loop() {
			e.Stats()
		}
		return nil
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	for c := range e.Changes() {
		if !c.Leading && !c.Time.IsZero() {
			cancel()
		}
	}
	<-done
}

// The figures on the page /debug/vars of package expvar, which any HTTP server of the process with
// the default handler serves.
func ExampleElection_Stats() {
	e := &election.Election{Lock: &setlock.Lock{Key: "scheduler"}}
	expvar.Publish("election scheduler", expvar.Func(func() any { return e.Stats() }))

	var s election.Stats
	if err := json.Unmarshal([]byte(expvar.Get("election scheduler").String()), &s); err != nil {
		panic(err)
	}
	fmt.Println(s.Leading, s.Terms)
	// Output: false 0
}
