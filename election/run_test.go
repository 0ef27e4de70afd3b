package election_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestElection(t *testing.T) {
	test := func(t *testing.T, dial redistest.Dialer) {
		a, b := candidate(t, dial, "a", nil), candidate(t, dial, "b", nil)
		changesA := a.Changes()
		if c := next(t, changesA, lease); c != (election.Change{}) {
			t.Errorf("before anything is known: %+v, want the zero Change", c)
		}
		stopA := start(t, a)
		c := next(t, changesA, lease)
		if c.Leader != "a" || !c.Leading || c.Fence == 0 || c.Err != nil || !a.IsLeader() || a.Leader().Owner != "a" {
			t.Errorf("a is told %+v (IsLeader %v, Leader %+v), want that it leads", c, a.IsLeader(), a.Leader())
		}
		fence := c.Fence

		changesB := b.Changes()
		next(t, changesB, lease)
		start(t, b)
		c = next(t, changesB, lease)
		if c.Leader != "a" || c.Leading || c.Fence != fence || b.IsLeader() || b.Leader().Owner != "a" {
			t.Errorf("b is told %+v (IsLeader %v, Leader %+v), want that a leads with %d", c, b.IsLeader(), b.Leader(), fence)
		}

		stopA()
		c = next(t, changesA, lease)
		if c.Leading || c.Leader != "" || !errors.Is(c.Err, context.Canceled) || a.IsLeader() {
			t.Errorf("a is told %+v at its end, want that it leads no more", c)
		}
		if _, open := <-changesA; open {
			t.Error("the channel of a is open after Run")
		}
		if last, open := <-a.Changes(); !open || last != c {
			t.Errorf("Changes after Run gives %+v, %v, want the last state", last, open)
		}
		c = next(t, changesB, lease)
		if c.Leader == "" { // seen between the two terms
			c = next(t, changesB, lease)
		}
		if c.Leader != "b" || !c.Leading || c.Fence <= fence {
			t.Errorf("b is told %+v, want that it leads with more than %d", c, fence)
		}
	}
	t.Run("embedded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, redistest.NewEmbedded(t).Dial) })
	})
	t.Run("server", func(t *testing.T) { test(t, redistest.NewServer(t).Dial) })
}

func TestPermanentEndsRun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		failure := errors.New("failure")
		a := w.candidate("a", func(context.Context) error { return backoff.Permanent(failure) })
		if err := a.Run(t.Context()); err != failure {
			t.Errorf("Run = %v, want %v", err, failure)
		}
		if w.server.Exists("k") {
			t.Error("not released")
		}
	})
}

func TestStopEndsRun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		a.BackOff = func() backoff.BackOff { return &backoff.StopBackOff{} }
		w.network.Set(redistest.Faults{Refuse: true})
		if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Run = %v, want the last error", err)
		}
		a.BackOff = func() backoff.BackOff {
			return backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Second), 3)
		}
		start := time.Now()
		if err := a.Run(t.Context()); err == nil {
			t.Error("Run = nil, want the last error")
		}
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("gave up after %v, want 3s", got)
		}
	})
}

func TestMisuseEndsRun(t *testing.T) {
	pool := &redis.Pool{Dial: func() (redis.Conn, error) { t.Error("dialled"); return nil, errors.New("no") }}
	for want, e := range map[string]*election.Election{
		"no Lock":              {},
		"no Key":               {Lock: &setlock.Lock{Pool: pool}},
		"no Pool":              {Lock: &setlock.Lock{Key: "k"}},
		"Lease 1ms":            {Lock: &setlock.Lock{Key: "k", Pool: pool, Lease: time.Millisecond}},
		"Replicas -1":          {Lock: &setlock.Lock{Key: "k", Pool: pool, Replicas: -1}},
		"BackOff returned nil": {Lock: &setlock.Lock{Key: "k", Pool: pool}, BackOff: func() backoff.BackOff { return nil }},
	} {
		if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run = %v, want one that says %q", err, want)
		}
	}
}

func TestSecondRun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		stop := start(t, a)
		synctest.Wait()
		if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "running already") {
			t.Errorf("a second Run = %v, want an error", err)
		}
		if !a.IsLeader() {
			t.Error("the second Run ended the first one's term")
		}
		stop()
		// One Run after the other is allowed.
		if _, open := <-a.Changes(); !open {
			t.Error("no last state")
		}
		start(t, a)
		synctest.Wait()
		if !a.IsLeader() {
			t.Error("a later Run does not lead")
		}
	})
}

// A leader needs two goroutines, and no watch if it has never had to wait. A follower needs two.
func TestGoroutines(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		start(t, w.candidate("a", nil))
		time.Sleep(2 * lease)
		if got := goroutines(); got != 2 {
			t.Errorf("%d goroutines to lead, want 2", got)
		}
		start(t, w.candidate("b", nil))
		time.Sleep(2 * lease)
		if got := goroutines(); got != 4 {
			t.Errorf("%d goroutines to lead and to follow, want 4", got)
		}
	})
}

// A Run that has followed, and then ends by itself, leaves no goroutine behind.
func TestRunThatEndsByItselfLeavesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		stop := start(t, w.candidate("a", nil))
		time.Sleep(lease)
		failure := errors.New("failure")
		b := w.candidate("b", func(context.Context) error { return backoff.Permanent(failure) })
		time.AfterFunc(lease, stop)
		if err := b.Run(t.Context()); err != failure {
			t.Errorf("Run = %v, want %v", err, failure)
		}
		if got := goroutines(); got != 0 {
			t.Errorf("%d goroutines are left", got)
		}
	})
}
