package election_test

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A pacer counts the steps that Run asks for, and the resets.
type pacer struct {
	step          time.Duration
	steps, resets int
}

func (p *pacer) NextBackOff() time.Duration { p.steps++; return p.step }

func (p *pacer) Reset() { p.resets++ }

func TestPace(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := &pacer{step: time.Second}
		failure := errors.New("failure")
		terms := 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var last time.Time
		a := w.candidate("a", func(context.Context) error {
			if terms++; terms > 1 {
				if got := time.Since(last); got < time.Second {
					t.Errorf("term %d began %v after the one before, want a step of %v", terms, got, p.step)
				}
			}
			if terms == 5 {
				cancel()
			}
			last = time.Now()
			return failure
		})
		a.BackOff = func() backoff.BackOff { return p }
		w.network.Set(redistest.Faults{Refuse: true})
		time.AfterFunc(10*time.Second, func() { w.network.Set(redistest.Faults{}) })
		if err := a.Run(ctx); err != failure {
			t.Errorf("Run = %v, want what OnElected returned when it ended", err)
		}
		if p.steps < 14 || p.steps > 15 {
			t.Errorf("%d steps, want about ten of a failing Redis and four between terms", p.steps)
		}
		if p.resets != 1 {
			t.Errorf("%d resets without a success, want the one of Run", p.resets)
		}
	})
}

// A BackOff that is used by one Run after the other begins anew with each.
func TestBackOffIsResetByRun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.network.Set(redistest.Faults{Refuse: true})
		for name, same := range map[string]backoff.BackOff{
			"retries": backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Second), 3),
			"time":    backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(time.Minute)),
		} {
			a := w.candidate("a", nil)
			a.BackOff = func() backoff.BackOff { return same }
			for i := range 3 {
				time.Sleep(2 * time.Minute)
				begin := time.Now()
				if err := a.Run(t.Context()); err == nil {
					t.Errorf("%s: Run %d = nil, want the last error", name, i)
				}
				if took := time.Since(begin); took < 3*time.Second {
					t.Errorf("%s: Run %d gave up after %v", name, i, took)
				}
			}
		}
	})
}

// The default BackOff never waits longer than a third of the lease, or than five seconds.
func TestDefaultPaceIsAThirdOfTheLease(t *testing.T) {
	for _, lease := range []time.Duration{setlock.MinLease, time.Second, 6 * time.Second, 0, time.Hour} {
		inBubble(t, func(t *testing.T, w *world) {
			var attempts []time.Time
			w.onAcquisition(func(c *server.Peer) bool {
				attempts = append(attempts, time.Now())
				c.WriteError("OOM command not allowed")
				return true
			})
			a := w.candidate("a", nil)
			a.Lock.Lease = lease
			bound := min(cmp.Or(lease, setlock.DefaultLease)/3, 5*time.Second)
			stop := start(t, a)
			time.Sleep(500 * bound)
			stop()
			longest := time.Duration(0)
			for i := 1; i < len(attempts); i++ {
				longest = max(longest, attempts[i].Sub(attempts[i-1]))
			}
			if longest > bound+time.Millisecond || longest < bound*3/4 || len(attempts) > 3000 {
				t.Errorf("lease %v: %d attempts, the longest pause is %v, want %v at most", lease, len(attempts), longest, bound)
			}
		})
	}
}

// Work that fails at once is paced, also if two candidates take turns.
func TestTermsOfTwoArePaced(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var terms atomic.Int64
		for _, owner := range []string{"a", "b"} {
			e := w.candidate(owner, func(context.Context) error {
				terms.Add(1)
				return errors.New("failure")
			})
			e.BackOff = func() backoff.BackOff { return backoff.NewConstantBackOff(time.Second) }
			start(t, e)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		if n := terms.Load(); n < 20 || n > 22 {
			t.Errorf("%d terms of two candidates in ten steps, want one of each in a step", n)
		}
	})
}

// The elapsed time that a BackOff counts is the time of failures, not the time of following.
func TestFollowingIsNoFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.hold(w.other(""))
		a := w.candidate("a", nil)
		a.BackOff = func() backoff.BackOff { return backoff.NewExponentialBackOff() } // 15 minutes
		start(t, a)
		time.Sleep(time.Hour - time.Second)
		w.server.Set("{k}:fence", "foreign") // its first attempts fail
		time.Sleep(time.Minute)
		if err := a.Check(lease); err == nil {
			t.Error("no attempt has failed")
		}
		w.server.Del("{k}:fence")
		time.Sleep(2 * time.Minute)
		if !a.IsLeader() {
			t.Error("a has given up")
		}
	})
}
