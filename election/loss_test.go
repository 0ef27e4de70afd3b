package election_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/clock/clocktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/setlocktest"
)

func TestLossAfterResignIsToldAtOnce(t *testing.T) {
	for _, how := range []string{"resign", "stop"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				work, leave := ignoring()
				a := w.candidate("a", work)
				ctx, cancel := context.WithCancel(t.Context())
				wait := run(ctx, t, a)
				time.Sleep(lease)
				changes := changesOf(t, a)
				if how == "resign" {
					a.Resign()
				} else {
					cancel()
				}
				time.Sleep(time.Second)
				w.steal(w.other(""))
				if c := next(t, changes, 0); c.Leading || !errors.Is(c.Err, setlock.ErrLost) {
					t.Errorf("told %+v, want the loss", c)
				}
				if got := a.Leader(); got.Owner == "a" {
					t.Errorf("Leader = %+v after the loss", got)
				}
				cancel()
				leave()
				wait()
			})
		})
	}
}

// A lock that is lost before its term has begun. Changes tells the end of the term at once, although
// OnElected still runs.
func TestLossBeforeTheTermIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		work, leave := ignoring()
		a := w.candidate("a", work)
		ctx, cancel := context.WithCancel(clock.NewContext(t.Context(), &meddler{Clock: clock.System, in: "(*Election).beginTerm", do: func() {
			if err := a.Lock.Unlock(t.Context()); err != nil {
				t.Errorf("Unlock: %v", err)
			}
		}}))
		defer cancel()
		changes := changesOf(t, a)
		wait := run(ctx, t, a)
		if c := next(t, changes, 0); !c.Leading {
			t.Errorf("told %+v, want the election", c)
		}
		if c := next(t, changes, 0); c.Leading || !errors.Is(c.Err, setlock.ErrLost) {
			t.Errorf("told %+v, want the loss", c)
		}
		cancel()
		leave()
		wait()
	})
}

// A meddler is a clock that calls do when the function in first asks for the time.
type meddler struct {
	clock.Clock
	in   string // the end of the function's name
	do   func()
	once sync.Once
}

func (m *meddler) Now() time.Time {
	callers := make([]uintptr, 1)
	runtime.Callers(2, callers)
	if f, _ := runtime.CallersFrames(callers).Next(); strings.HasSuffix(f.Function, m.in) {
		m.once.Do(m.do)
	}
	return m.Clock.Now()
}

func TestIsLeaderOnASuspendedMachine(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		fake := clocktest.New()
		ctx, cancel := context.WithCancel(clock.NewContext(t.Context(), fake))
		a := w.candidate("a", nil)
		wait := run(ctx, t, a)
		synctest.Wait()
		if !a.IsLeader() {
			t.Error("not elected")
		}
		fake.Suspend(lease) // no timer has seen it
		if a.IsLeader() {
			t.Error("IsLeader after a suspension")
		}
		cancel()
		wait()
	})
}

func TestIsLeaderJudgesAtTheCall(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		start(t, a)
		time.Sleep(lease)
		w.network.Set(redistest.Silent)
		begin := time.Now()
		for a.IsLeader() {
			time.Sleep(time.Millisecond)
		}
		if got := time.Since(begin); got > lease*9/10 {
			t.Errorf("IsLeader for %v without Redis, want %v at most", got, lease*9/10)
		}
		w.network.Set(redistest.Faults{})
	})
}

// OnElected uses another lock, on another Redis, with its context. The election ignores what happens
// to the other lock.
func TestOtherLocksAreNoneOfItsBusiness(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		there := setlocktest.NewServer(t) // its clock shows the same time, so fences are the same
		other := &setlock.Lock{Key: "other", Pool: there.Pool(), Lease: lease}
		a := w.candidate("a", func(ctx context.Context) error {
			err := other.Do(ctx, func(inner context.Context) error {
				here, _ := setlock.FenceFromContext(ctx)
				if there := other.Fence(); there != here {
					t.Errorf("fence %d there, %d here, want the same", there, here)
				}
				there.CutOff(other.Pool)
				<-inner.Done()
				return nil
			})
			if !errors.Is(err, setlock.ErrLost) {
				t.Errorf("Do = %v, want a loss", err)
			}
			for ctx.Err() == nil {
				if _, err := other.Lock(ctx, time.Second); err == nil {
					t.Error("acquired where nobody answers")
				}
			}
			return nil
		})
		log := logOf(a)
		changes := changesOf(t, a)
		stop := start(t, a)
		for range 50 {
			time.Sleep(lease / 10)
			if err := a.Check(lease / 3); err != nil || !a.IsLeader() || a.Leader().Owner != "a" {
				t.Fatalf("Check = %v, IsLeader %v, Leader %+v", err, a.IsLeader(), a.Leader())
			}
		}
		if c := next(t, changes, 0); !c.Leading || len(changes) != 0 {
			t.Errorf("told %+v and %d changes more, want the election", c, len(changes))
		}
		if got := records(t, log); len(got) != 1 {
			t.Errorf("logged %v, want the election", got)
		}
		stop()
	})
}
