package election_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
)

// five starts five candidates.
func (w *world) five() (elected <-chan *election.Election) {
	return w.candidates("a", "b", "c", "d", "e")
}

// However soon a leader resigns, another candidate is the next leader, after a few trips through the
// network.
func TestResignedIsNotTheNext(t *testing.T) {
	for name, delay := range map[string]time.Duration{
		"no delay": 0, "1ms each way": time.Millisecond, "10ms each way": 10 * time.Millisecond,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.network.Set(redistest.Faults{Delay: delay})
				elected := w.five()
				leader := <-elected
				time.Sleep(lease / 2) // the others follow
				leader.Resign()       // the server has the scripts now
				leader = <-elected
				time.Sleep(lease / 2)
				slow := 0
				for i := range 300 {
					synctest.Wait() // what takes no time has happened
					begin := time.Now()
					leader.Resign()
					next := <-elected
					if next == leader {
						t.Fatalf("resignation %d: %s resigned and is the next", i, leader.Lock.Owner)
					}
					// The release, its announcement, the acquisition and its reply. The release
					// waits for a renewal that is under way, and a follower for its own look:
					// two more trips each.
					took := time.Since(begin)
					if took > 8*delay {
						t.Fatalf("resignation %d: another leads after %v, want %v at most", i, took, 8*delay)
					}
					if took > 4*delay {
						slow++
					}
					leader = next
					time.Sleep(rand.N(50 * time.Millisecond))
				}
				if slow > 30 {
					t.Errorf("%d of 300 hand-overs took more than %v", slow, 4*delay)
				}
			})
		})
	}
}

// A leader resigns before the others have heard of its election. They were too late for that
// election, and are in time for the next one.
func TestResignAtOnceHandsOverAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		elected := w.five()
		leader := <-elected
		for i := range 300 {
			time.Sleep(200 * time.Millisecond) // the others follow
			begin := time.Now()
			leader.Resign()
			second := <-elected
			second.Resign()
			leader = <-elected
			if leader == second {
				t.Fatalf("round %d: %s resigned and is the next", i, leader.Lock.Owner)
			}
			if took := time.Since(begin); took != 0 {
				t.Fatalf("round %d: two hand-overs took %v, want no time", i, took)
			}
		}
	})
}

// Without push, the resigned candidate waits until the candidates that poll have looked.
func TestResignedIsNotTheNextWithoutPush(t *testing.T) {
	for name, delay := range map[string]time.Duration{"no delay": 0, "100ms each way": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.refuse("SUBSCRIBE")
				w.network.Set(redistest.Faults{Delay: delay})
				elected := w.candidates("a", "b")
				leader := <-elected
				for i := range 300 {
					time.Sleep(lease/5 + rand.N(lease/5)) // the other follows
					leader.Resign()
					next := <-elected
					if next == leader {
						t.Fatalf("resignation %d: %s resigned and is the next", i, leader.Lock.Owner)
					}
					leader = next
				}
			})
		})
	}
}

// Without push, the resigned candidate sees the next leader as soon as others do.
func TestResignWithoutPush(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.refuse("SUBSCRIBE")
		a := w.candidate("a", nil)
		a.BackOff = func() backoff.BackOff { return backoff.NewConstantBackOff(2 * lease) } // lets b go first
		w.leadAndFollow(a, w.candidate("b", nil))
		time.Sleep(2 * lease)
		changes := changesOf(t, a)
		a.Resign()
		next(t, changes, 0)
		if c := next(t, changes, lease/5+lease/100); c.Leader != "b" {
			t.Errorf("told %+v, want that b leads", c)
		}
	})
}

// A candidate that is alone leads again soon after it has resigned.
func TestResignedLeadsAgainWithoutAnother(t *testing.T) {
	for _, test := range []struct {
		name    string
		refused string
		atLeast time.Duration
		atMost  time.Duration
	}{
		{"with push", "", 50 * time.Millisecond, 150 * time.Millisecond},
		{"without push", "SUBSCRIBE", lease / 10, lease / 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				if test.refused != "" {
					w.refuse(test.refused)
				}
				elected := w.candidates("a")
				e := <-elected
				for range 50 {
					time.Sleep(rand.N(lease))
					begin := time.Now()
					e.Resign()
					<-elected
					if took := time.Since(begin); took < test.atLeast || took > test.atMost {
						t.Errorf("leads again after %v, want %v to %v", took, test.atLeast, test.atMost)
					}
				}
			})
		})
	}
}

// Resign ends a term from the moment when anybody can know of the term.
func TestResignIsNeverLost(t *testing.T) {
	ends := func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(lease):
			return errors.New("not resigned")
		}
	}
	t.Run("before OnElected is called", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			a := w.candidate("a", func(ctx context.Context) error {
				if context.Cause(ctx) != election.ErrResigned {
					t.Errorf("called with a context of cause %v, want ErrResigned", context.Cause(ctx))
				}
				return ends(ctx)
			})
			terms := 0
			a.Logger = slog.New(handler(func(r slog.Record) {
				if r.Message == "elected" {
					terms++
					a.Resign()
				}
			}))
			stop := start(t, a)
			time.Sleep(lease)
			stop()
			if terms < 2 {
				t.Errorf("%d terms, want some", terms)
			}
		})
	})
	t.Run("when Changes tells of the term", func(t *testing.T) {
		inBubble(t, func(t *testing.T, w *world) {
			a := w.candidate("a", ends)
			changes := a.Changes()
			stop := start(t, a)
			for range 300 {
				nextLeading(t, changes, lease/2)
				a.Resign()
				if c := next(t, changes, 0); !errors.Is(c.Err, election.ErrResigned) {
					t.Fatalf("told %+v after Resign, want its end", c)
				}
			}
			stop()
		})
	})
}
