package election_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

// The order at the end of a term whose OnElected takes its time to return.
func TestOrderAtTheEnd(t *testing.T) {
	for _, how := range []string{"stop", "resign", "loss"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				var returned atomic.Bool
				a := w.candidate("a", func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(3 * lease)
					returned.Store(true)
					return nil
				})
				ctx, cancel := context.WithCancel(t.Context())
				wait := run(ctx, t, a)
				time.Sleep(lease)
				changes := changesOf(t, a)
				other := w.other("")
				switch how {
				case "stop":
					cancel()
				case "resign":
					a.Resign()
				case "loss":
					w.steal(other)
				}
				synctest.Wait()
				if a.IsLeader() {
					t.Error("IsLeader while OnElected is told to stop")
				}
				if how == "loss" {
					if c := next(t, changes, 0); c.Leading || !errors.Is(c.Err, setlock.ErrLost) || returned.Load() {
						t.Errorf("told %+v, want the loss before OnElected returns", c)
					}
				} else {
					select {
					case c := <-changes:
						t.Errorf("told %+v before OnElected has returned", c)
					default:
					}
					for range 10 {
						time.Sleep(lease / 4)
						if _, err := other.Lock(t.Context(), time.Second); err != setlock.ErrNotHeld {
							t.Errorf("another's Lock before OnElected has returned = %v", err)
						}
					}
					if c := next(t, changes, lease); c.Leading || !returned.Load() {
						t.Errorf("told %+v, want the end after OnElected has returned", c)
					}
				}
				if err := a.Check(lease); how == "loss" && err != nil {
					t.Errorf("Check = %v within its tolerance", err)
				}
				cancel()
				wait()
			})
		})
	}
}

// When the log tells that a term has ended, IsLeader and Leader agree.
func TestOverMeansOver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", func(context.Context) error { return nil })
		ended := 0
		a.Logger = slog.New(handler(func(r slog.Record) {
			if r.Message == "leadership ended" {
				ended++
				if a.IsLeader() || a.Leader().Owner != "" {
					t.Errorf("IsLeader %v, Leader %+v when the leadership has ended", a.IsLeader(), a.Leader())
				}
			}
		}))
		stop := start(t, a)
		time.Sleep(time.Second)
		stop()
		if ended == 0 {
			t.Error("no term has ended")
		}
	})
}

// The context of a term ends before the end of the term is told, even if OnElected returns by itself.
func TestContextEndsBeforeAnybodyIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var term context.Context
		a := w.candidate("a", func(ctx context.Context) error {
			term = ctx
			return backoff.Permanent(errors.New("enough"))
		})
		ends := 0
		a.Logger = slog.New(handler(func(r slog.Record) {
			if r.Message != "leadership ended" {
				return
			}
			ends++
			if term.Err() == nil {
				t.Error("told of the end while the context lives")
			}
		}))
		if err := a.Run(t.Context()); err == nil || err.Error() != "enough" {
			t.Errorf("Run = %v, want what OnElected returned", err)
		}
		if ends != 1 {
			t.Errorf("told of %d ends, want 1", ends)
		}
	})
}

func TestPanicAndGoexitGoOn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, how := range []string{"panic", "goexit"} {
			a := w.candidate("a", func(context.Context) error {
				if how == "panic" {
					panic("why")
				}
				runtime.Goexit()
				return nil
			})
			changes := a.Changes()
			done := make(chan any)
			go func() {
				defer func() { done <- recover() }()
				a.Run(t.Context())
				t.Errorf("%s: Run returned", how)
			}()
			if r := <-done; how == "panic" && r != "why" {
				t.Errorf("recovered %v, want why", r)
			}
			if w.server.Exists("k") {
				t.Errorf("%s: not released", how)
			}
			var last election.Change
			for c := range changes {
				last = c
			}
			if last.Leading || last.Err == nil {
				t.Errorf("%s: the last change is %+v, want the end and why", how, last)
			}
			if err := a.Check(time.Hour); a.IsLeader() || err == nil || errors.Is(err, election.ErrUnavailable) {
				t.Errorf("%s: IsLeader %v, Check %v, want that the candidate is gone", how, a.IsLeader(), err)
			}
		}
	})
}
