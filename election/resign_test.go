package election_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
)

// five starts five candidates, and returns where they send themselves when they are elected.
func (w *world) five() <-chan *election.Election {
	elected := make(chan *election.Election, 1)
	for _, owner := range []string{"a", "b", "c", "d", "e"} {
		var e *election.Election
		e = w.candidate(owner, func(ctx context.Context) error {
			elected <- e
			<-ctx.Done()
			return nil
		})
		start(w.t, e)
	}
	return elected
}

// refuse makes the server refuse a command.
func (w *world) refuse(command string) {
	redistest.Do(w.t, w.server.Dial, "PING") // its first connection has started it
	w.server.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if !strings.EqualFold(cmd, command) {
			return false
		}
		c.WriteError("NOPERM this user has no permissions to run it")
		return true
	})
}

// However soon a leader resigns, the next one is another, after a few trips through the network.
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
				for i := range 300 {
					synctest.Wait() // what takes no time has happened
					begin := time.Now()
					leader.Resign()
					next := <-elected
					if next == leader {
						t.Fatalf("resignation %d: %s resigned and is the next", i, leader.Lock.Owner)
					}
					// The release, its announcement, the acquisition and its reply.
					if took := time.Since(begin); took > 4*delay {
						t.Fatalf("resignation %d: another leads after %v, want %v", i, took, 4*delay)
					}
					leader = next
					time.Sleep(rand.N(50 * time.Millisecond))
				}
			})
		})
	}
}

// A leader resigns before the others have heard that it was elected. They were too late for that
// election, and are not for the next one.
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

// A follower was too late for an election, and its watch has heard neither of that nor of the
// resignation that followed at once before it looked: it campaigns as soon as it has looked.
func TestMissedTermIsNotWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.candidate("a", nil), w.candidate("b", nil)
		stop := start(t, a)
		synctest.Wait()
		start(t, b)
		time.Sleep(lease)
		missed := 0
		w.server.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
			if !isAcquisition(cmd, args) || missed == 10 {
				return false
			}
			// Another was quicker, and resigns before the reply has arrived.
			missed++
			w.server.Set("{k}:fence", fmt.Sprint(time.Now().UnixMicro()+int64(missed)))
			w.server.Publish("setlock:k", "released by another")
			c.WriteLen(2)
			c.WriteInt(3)
			c.WriteInt(100)
			return true
		})
		begin := time.Now()
		stop()
		synctest.Wait()
		if missed != 10 || !b.IsLeader() {
			t.Errorf("%d terms missed, IsLeader %v after %v, want 10 and true at once", missed, b.IsLeader(), time.Since(begin))
		}
	})
}

// isAcquisition reports whether a request runs acquire.lua by its hash.
func isAcquisition(cmd string, args []string) bool {
	return strings.EqualFold(cmd, "EVALSHA") && len(args) > 4 && args[1] == "2"
}

// Where announcements cannot be subscribed to, the resigned candidate waits until those who poll
// have looked.
func TestResignedIsNotTheNextWithoutPush(t *testing.T) {
	for name, delay := range map[string]time.Duration{"no delay": 0, "100ms each way": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.refuse("SUBSCRIBE")
				w.network.Set(redistest.Faults{Delay: delay})
				elected := make(chan *election.Election, 1)
				for _, owner := range []string{"a", "b"} {
					var e *election.Election
					e = w.candidate(owner, func(ctx context.Context) error {
						elected <- e
						<-ctx.Done()
						return nil
					})
					start(t, e)
				}
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

// Alone, a candidate that has resigned leads again soon.
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
				terms := make(chan time.Time, 1)
				e := w.candidate("a", func(ctx context.Context) error {
					terms <- time.Now()
					<-ctx.Done()
					return nil
				})
				start(t, e)
				<-terms
				for range 50 {
					time.Sleep(rand.N(lease))
					begin := time.Now()
					e.Resign()
					if took := (<-terms).Sub(begin); took < test.atLeast || took > test.atMost {
						t.Errorf("leads again after %v, want %v to %v", took, test.atLeast, test.atMost)
					}
				}
			})
		})
	}
}

// From the moment when anybody can know of a term, Resign ends it.
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
			log := new(bytes.Buffer)
			a.Logger = slog.New(slog.NewJSONHandler(log, nil))
			changes := a.Changes()
			stop := start(t, a)
			for range 300 {
				for c := next(t, changes, lease/2); !c.Leading; c = next(t, changes, lease/2) {
				}
				a.Resign()
				if c := next(t, changes, 0); !errors.Is(c.Err, election.ErrResigned) {
					t.Fatalf("told %+v after Resign, want its end", c)
				}
			}
			stop()
		})
	})
}
