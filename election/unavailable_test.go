package election_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
)

// unavailable fails t unless e is unavailable, and says all of the words.
func unavailable(t *testing.T, e *election.Election, words ...string) {
	t.Helper()
	err := e.Check(lease)
	if !errors.Is(err, election.ErrUnavailable) || errors.Is(err, election.ErrOverdue) {
		t.Errorf("Check = %v, want ErrUnavailable", err)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("Check = %v, want %q in it", err, word)
		}
	}
}

// well fails t unless Check of e returns nil at once.
func well(t *testing.T, e *election.Election) {
	t.Helper()
	if err := e.Check(0); err != nil {
		t.Errorf("Check = %v, want nil", err)
	}
}

func TestCheckSaysWhatHappened(t *testing.T) {
	answer := func(text string) func(*world) { return func(w *world) { w.server.SetError(text) } }
	for name, test := range map[string]struct {
		spoil func(w *world)
		words string
	}{
		"refused":        {func(w *world) { w.network.Set(redistest.Faults{Refuse: true}); w.network.Reset() }, ": no answer: "},
		"silent":         {func(w *world) { w.network.Set(redistest.Silent) }, ": no answer: "},
		"password":       {func(w *world) { w.server.RequireAuth("secret") }, ": Redis refused the password: "},
		"wrong password": {answer("WRONGPASS invalid username-password pair or user is disabled."), ": Redis refused the password: "},
		"wrong type":     {func(w *world) { w.server.Del("k"); w.server.Push("k", "x") }, ": a key of the lock has the wrong type: "},
		"memory":         {answer("OOM command not allowed when used memory > 'maxmemory'."), ": Redis is out of memory: "},
		"read-only":      {answer("READONLY You can't write against a read only replica."), ": Redis is read-only: "},
		"no expiry":      {func(w *world) { w.foreign(1) }, "the lock key has no expiry"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				a := w.candidate("a", nil)
				stop := start(t, a)
				time.Sleep(lease)
				well(t, a)
				test.spoil(w)
				time.Sleep(3 * lease)
				unavailable(t, a, test.words)
				if err := a.Check(4 * lease); err != nil {
					t.Errorf("Check within its tolerance = %v", err)
				}
				w.network.Set(redistest.Faults{})
				w.server.SetError("")
				w.server.RequireAuth("")
				if name == "wrong type" || name == "no expiry" {
					w.server.Del("k")
				}
				time.Sleep(4 * lease)
				well(t, a)
				if !a.IsLeader() {
					t.Error("not elected when Redis is well")
				}
				stop()
				well(t, a)
			})
		})
	}
}

// A leader dies, and its key has lost its expiry. Its followers see it and say that nobody can be
// elected. A follower of a leader that lives does not.
func TestCheckSeesAKeyThatHasLostItsExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dead := w.other("dead")
		if _, err := dead.Lock(t.Context(), 10*lease); err != nil {
			t.Fatal(err)
		}
		a := w.candidate("a", nil)
		log := logOf(a)
		stop := start(t, a)
		time.Sleep(2 * lease)
		well(t, a)
		redistest.Do(t, w.server.Dial, "PERSIST", "k")
		time.Sleep(30 * lease)
		unavailable(t, a, "the lock key has no expiry")
		if got := strings.Count(log.String(), "lock key without expiry"); got != 1 {
			t.Errorf("logged %d times: %s", got, log)
		}
		redistest.Do(t, w.server.Dial, "PEXPIRE", "k", (2 * lease).Milliseconds())
		time.Sleep(lease + lease/10)
		well(t, a)
		time.Sleep(lease)
		if !a.IsLeader() {
			t.Error("not elected when the key has expired")
		}
		redistest.Do(t, w.server.Dial, "PERSIST", "k")
		time.Sleep(2 * lease)
		well(t, a)
		stop()
	})
}

// A leader that is announced ends the trouble with the key, before the next look.
func TestCheckIsNilWhenALeaderIsAnnounced(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.foreign(1)
		w.server.Set("{k}:fence", "1")
		a := w.candidate("a", nil)
		stop := start(t, a)
		time.Sleep(2*lease + lease/2)
		unavailable(t, a)
		w.server.Del("k")
		w.hold(w.other("b"))
		synctest.Wait()
		if got := a.Leader().Owner; got != "b" {
			t.Errorf("the leader is %q, want b", got)
		}
		well(t, a)
		stop()
	})
}

func TestCheckTellsOfOverdueWorkFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		work, leave := ignoring()
		a := w.candidate("a", work)
		stop := start(t, a)
		time.Sleep(lease)
		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		time.Sleep(2 * lease) // the lock is lost
		if err := a.Check(lease); !errors.Is(err, election.ErrOverdue) || errors.Is(err, election.ErrUnavailable) {
			t.Errorf("Check = %v, want ErrOverdue", err)
		}
		leave()
		time.Sleep(lease)
		unavailable(t, a)
		stop()
	})
}

// After a Run, Check returns its error until the next one begins.
func TestCheckAfterRun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var result error
		gone := false
		a := w.candidate("a", func(context.Context) error {
			if gone {
				runtime.Goexit()
			}
			return backoff.Permanent(result)
		})
		result = errors.New("enough")
		for range 2 {
			if err := a.Run(t.Context()); err != result {
				t.Errorf("Run = %v, want %v", err, result)
			}
			time.Sleep(time.Minute)
			if err := a.Check(time.Hour); err != result {
				t.Errorf("Check after Run = %v, want %v", err, result)
			}
		}
		gone = true
		done := make(chan bool)
		go func() {
			defer close(done)
			a.Run(t.Context())
		}()
		<-done
		if err := a.Check(time.Hour); err == nil || !strings.Contains(err.Error(), "Goexit") {
			t.Errorf("Check after a Goexit = %v, want that error", err)
		}
		a.OnElected = nil
		stop := start(t, a)
		synctest.Wait()
		well(t, a)
		stop()
		well(t, a)

		invalid := &election.Election{}
		if err := invalid.Run(t.Context()); err == nil || invalid.Check(time.Hour) != err {
			t.Errorf("Check = %v after Run has returned %v", invalid.Check(time.Hour), err)
		}
	})
}
