package election_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
)

func TestCheck(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		work, leave := ignoring()
		a := w.candidate("a", work)
		if err := a.Check(0); err != nil {
			t.Errorf("Check before Run = %v", err)
		}
		stop := start(t, a)
		time.Sleep(lease)
		if err := a.Check(0); err != nil {
			t.Errorf("Check of a leader = %v", err)
		}
		a.Resign()
		time.Sleep(time.Minute)
		if err := a.Check(time.Minute + 1); err != nil {
			t.Errorf("Check within its tolerance = %v", err)
		}
		if err := a.Check(time.Minute); !errors.Is(err, election.ErrOverdue) || !errors.Is(err, election.ErrResigned) || !strings.Contains(err.Error(), "still runs 1m0s") {
			t.Errorf("Check = %v, want that OnElected still runs", err)
		}
		leave()
		time.Sleep(time.Second)
		if err := a.Check(0); err != nil {
			t.Errorf("Check after OnElected has returned = %v", err)
		}

		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		time.Sleep(2 * lease)
		err := a.Check(lease)
		if !errors.Is(err, election.ErrUnavailable) || errors.Is(err, election.ErrOverdue) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Check = %v, want the error of Redis", err)
		}
		if err := a.Check(2 * lease); err != nil {
			t.Errorf("Check within its tolerance = %v", err)
		}
		w.network.Set(redistest.Faults{})
		time.Sleep(2 * lease)
		if err := a.Check(0); err != nil {
			t.Errorf("Check when Redis is back = %v", err)
		}
		stop()
	})
}

// A Redis that can be read and refuses every acquisition.
func TestCheckSeesRefusedAttempts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.server.Set("{k}:fence", "foreign")
		a := w.candidate("a", nil)
		log := logOf(a)
		stop := start(t, a)
		time.Sleep(100 * lease)
		for range 20 {
			time.Sleep(lease / 7)
			if err := a.Check(50 * lease); err == nil || !strings.Contains(err.Error(), "foreign value") {
				t.Errorf("Check = %v, want the error of the attempts", err)
			}
		}
		w.server.Del("{k}:fence")
		time.Sleep(2 * lease) // a step of the pace is 2 s at most
		if err := a.Check(0); err != nil || !a.IsLeader() {
			t.Errorf("Check = %v, IsLeader = %v when the attempts succeed", err, a.IsLeader())
		}
		stop()
		warnedOnce(t, log)
	})
}

// An attempt that finds the lock held while the watch shows nobody has met another attempt, which
// may be undone. The trouble of the candidate continues, and its pace is not reset.
func TestNotHeldProvesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		attempts := 0
		w.onAcquisition(func(c *server.Peer) bool {
			if attempts++; attempts%2 == 1 {
				c.WriteError("OOM command not allowed")
			} else {
				heldByAnother(c)
			}
			return true
		})
		p := &pacer{step: time.Second}
		a := w.candidate("a", nil)
		a.BackOff = func() backoff.BackOff { return p }
		log := logOf(a)
		start(t, a)
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		if err := a.Check(9 * time.Second); err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("Check = %v, want the error of the attempts", err)
		}
		if attempts != 10 || p.steps != 10 || p.resets != 1 {
			t.Errorf("%d attempts, %d steps and %d resets, want 10, 10 and the one of Run", attempts, p.steps, p.resets)
		}

		// A leader that the watch shows ends the trouble, and resets the pace.
		other := w.other("other")
		w.hook(nil)
		w.hold(other)
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
		warnedOnce(t, log)
	})
}

// Candidates that no replica confirms lead nobody, and none of them says that another one leads.
func TestUnconfirmedLeadNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		redistest.Do(t, w.server.Dial, "PING") // starts the server
		w.server.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
			if cmd != "WAIT" {
				return false
			}
			ms, _ := strconv.Atoi(args[1])
			time.Sleep(time.Duration(ms) * time.Millisecond)
			c.WriteInt(0)
			return true
		})
		var mu sync.Mutex
		var all []*election.Election
		var told []election.Change
		var readers sync.WaitGroup
		for i := range 5 {
			e := w.candidate(fmt.Sprint(i), func(context.Context) error { t.Error("elected"); return nil })
			e.Lock.Replicas = 1
			all = append(all, e)
			changes := changesOf(t, e)
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
		time.Sleep(40 * lease)
		for i, e := range all { // each has met no attempt of another for once, and has failed itself
			if err := e.Check(20 * lease); err == nil || !strings.Contains(err.Error(), "confirmed by 0 of 1 replicas") {
				t.Errorf("Check of %d = %v, want that no replica confirms", i, err)
			}
		}
		for _, stop := range stops {
			stop()
		}
		readers.Wait()
		if len(told) > 0 {
			t.Errorf("told %d changes, want none: %+v", len(told), told[0])
		}
	})
}
