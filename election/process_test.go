//go:build unix

package election_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/setlock/setlock"
)

// After kill -9 of the leader, another candidate leads when the lease has run out, and not before.
func TestLeaderProcessKilled(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first := s.leader(0)
	s.signal(first.Who, syscall.SIGKILL)
	s.cast[first.Who].Process.Wait()
	killed, left := s.left()
	second := s.leader(first.Fence)
	took := second.At.Sub(killed.Round(0))
	t.Logf("%v after its death, with %v of its lease left, another leads", took, left)
	// Redis counts in milliseconds.
	if took < left-5*time.Millisecond || took > left+processLease/2 {
		t.Errorf("another leads %v after the death of a leader with %v of its lease left", took, left)
	}
	s.judge(map[int64]time.Time{first.Fence: killed})
}

// After SIGTERM to the leader, another candidate leads long before the lease could have run out.
func TestLeaderProcessEnds(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first := s.leader(0)
	s.end(first.Who)
	s.cast[first.Who].Process.Wait()
	second := s.leader(first.Fence)
	ended := s.await("the end of the term", func(e report) bool { return e.What == hasEnded && e.Fence == first.Fence })
	took := second.At.Sub(ended.At)
	t.Logf("%v after the end of its context, another leads", took)
	if took > processLease/2 {
		t.Errorf("another leads after %v, want less than half a lease", took)
	}
	s.judge(map[int64]time.Time{})
}

// The leader is stopped by SIGSTOP for longer than the lease, and another candidate is elected. After
// SIGCONT the context of the old leader ends at once, its writes are refused, it follows, and it can be
// elected again.
func TestLeaderProcessStopped(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first := s.leader(0)
	s.signal(first.Who, syscall.SIGSTOP)
	stopped := time.Now()
	second := s.leader(first.Fence)
	time.Sleep(time.Until(stopped.Add(processLease + processLease/4)))
	continued := time.Now().Round(0)
	s.signal(first.Who, syscall.SIGCONT)
	of := func(what string) func(report) bool {
		return func(e report) bool { return e.Who == first.Who && e.What == what && !e.At.Before(continued) }
	}

	ended := s.await("the end of its context", of(hasEnded))
	t.Logf("stopped for %v; its context ended %v after it was continued: %s", continued.Sub(stopped.Round(0)), ended.At.Sub(continued), ended.Err)
	if !strings.Contains(ended.Err, setlock.ErrLost.Error()) || ended.Fence != first.Fence {
		t.Errorf("the context of term %d ended with %q, want term %d and ErrLost", ended.Fence, ended.Err, first.Fence)
	}
	if took := ended.At.Sub(continued); took > processLease/2 {
		t.Errorf("its context ended %v after it was continued, want a twentieth of the lease, and as much as a busy machine needs", took)
	}
	s.await("Check", of(hasChecked))
	changed := s.await("Changes", of(hasChanged))
	if changed.Leads || !strings.Contains(changed.Err, setlock.ErrLost.Error()) {
		t.Errorf("Changes tells first %+v, want the loss", changed)
	}
	s.await("Changes, of the new leader", func(e report) bool {
		return of(hasChanged)(e) && e.Owner == second.Who && e.Fence == second.Fence && !e.Leads
	})
	refused := s.await("a write that is refused", of(hasRefused))
	t.Logf("it wrote in vain, first %v after it was continued", refused.At.Sub(continued))
	if written := s.all(of(hasWritten)); len(written) > 0 {
		t.Errorf("it wrote %d times after it was replaced: %+v", len(written), written[0])
	}

	for name := range s.cast {
		if name != first.Who && name != second.Who {
			s.end(name)
		}
	}
	s.end(second.Who)
	if third := s.leader(second.Fence); third.Who != first.Who {
		t.Errorf("%s leads, want %s, the only one left", third.Who, first.Who)
	}
	s.judge(map[int64]time.Time{first.Fence: stopped})
}

// A server that is stopped for less than a third of the lease: the leader stays the leader.
func TestServerStoppedShortly(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first := s.leader(0)
	for range 3 {
		s.server.Pause()
		time.Sleep(processLease / 6)
		s.server.Continue()
		continued := time.Now().Round(0)
		s.await("a write", func(e report) bool { return e.What == hasWritten && e.At.After(continued.Add(processLease/2)) })
	}
	for _, e := range s.all(func(e report) bool {
		return e.What == hasEnded || e.What == hasRefused || e.What == hasElected && e != first
	}) {
		t.Errorf("%+v, want one term", e)
	}
}
