package election_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// An attempt that finds the lock held while the watch shows nobody has met another attempt, which
// may be undone: it neither ends the trouble of a candidate nor resets its pace.
func TestNotHeldProvesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		redistest.Do(t, w.server.Dial, "PING")
		attempts := 0
		w.server.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
			if !isAcquisition(cmd, args) {
				return false
			}
			if attempts++; attempts%2 == 1 {
				c.WriteError("OOM command not allowed")
				return true
			}
			c.WriteLen(2)
			c.WriteInt(3) // held by another
			c.WriteInt(100)
			return true
		})
		p := &pacer{step: time.Second}
		a := w.candidate("a", nil)
		a.BackOff = func() backoff.BackOff { return p }
		log := new(bytes.Buffer)
		a.Logger = slog.New(slog.NewJSONHandler(log, nil))
		start(t, a)
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		if err := a.Check(9 * time.Second); err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("Check = %v, want the error of the attempts", err)
		}
		if attempts != 10 || p.steps != 10 || p.resets != 1 {
			t.Errorf("%d attempts, %d steps and %d resets, want 10, 10 and the one of Run", attempts, p.steps, p.resets)
		}

		// A leader that the watch shows ends the trouble, and the pace begins anew.
		other := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, w.server.Dial), Owner: "other"}
		w.server.Server().SetPreHook(nil)
		if _, err := other.Lock(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(lease)
		if err := a.Check(0); err != nil || a.Leader().Owner != "other" {
			t.Errorf("Check = %v, Leader = %+v, want that of a follower", err, a.Leader())
		}
		if err := other.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !a.IsLeader() || p.resets != 2 {
			t.Errorf("IsLeader %v after %d resets, want true and 2", a.IsLeader(), p.resets)
		}
		if got := strings.Count(log.String(), "attempt failed"); got != 1 {
			t.Errorf("%d warnings for one error: %s", got, log)
		}
	})
}

// Candidates that no replica confirms lead nobody, and none of them says that another does.
func TestUnconfirmedLeadNobody(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t) // has no replica
	var mu sync.Mutex
	var all []*election.Election
	var told []election.Change
	var readers sync.WaitGroup
	for i := range 5 {
		e := candidate(t, s.Dial, fmt.Sprint(i), func(context.Context) error { t.Error("elected"); return nil })
		e.Lock.Replicas, e.Lock.Lease = 1, 2*time.Second
		all = append(all, e)
		changes := e.Changes()
		<-changes // nothing is known
		readers.Go(func() {
			for c := range changes {
				mu.Lock()
				told = append(told, c)
				mu.Unlock()
			}
		})
	}
	var stops []func()
	for _, e := range all {
		stops = append(stops, start(t, e))
	}
	time.Sleep(5 * time.Second)
	unavailable := 0
	for _, e := range all {
		if err := e.Check(4 * time.Second); err != nil && strings.Contains(err.Error(), "confirmed by 0 of 1 replicas") {
			unavailable++
		}
	}
	for _, stop := range stops {
		stop()
	}
	readers.Wait()
	if len(told) > 0 {
		t.Errorf("told %d changes, want none: %+v", len(told), told[0])
	}
	if unavailable == 0 {
		t.Error("Check of no candidate names the replicas")
	}
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

// Work that fails at once is paced, also where the candidates take turns.
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
