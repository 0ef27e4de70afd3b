package election_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestHandOverIsPushed(t *testing.T) {
	for _, how := range []string{"stop", "resign", "return", "error"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				failure := errors.New("failure")
				leave := make(chan error)
				a := w.candidate("a", func(ctx context.Context) error {
					select {
					case err := <-leave:
						return err
					case <-ctx.Done():
						return nil
					}
				})
				b := w.candidate("b", nil)
				stop := w.leadAndFollow(a, b)
				changes, changesB := changesOf(t, a), changesOf(t, b)
				var want error
				switch how {
				case "stop":
					stop()
					want = context.Canceled
				case "resign":
					a.Resign()
					want = election.ErrResigned
				case "return":
					leave <- nil
				case "error":
					leave <- failure
					want = failure
				}
				nextLeading(t, changesB, 0)
				if c := next(t, changes, 0); c.Leading || !errors.Is(c.Err, want) {
					t.Errorf("a is told %+v, want the end because of %v", c, want)
				}
				if how != "stop" {
					// a stays a candidate, and hears of the new leader by push.
					if c := next(t, changes, 0); c.Leader != "b" || c.Leading {
						t.Errorf("a is told %+v, want that b leads", c)
					}
				}
			})
		})
	}
}

// TestHandOverWithoutPush proves what docs/guarantees.md says of a hand-over that is not announced.
func TestHandOverWithoutPush(t *testing.T) {
	for command, bound := range map[string]time.Duration{"SUBSCRIBE": lease / 10, "PUBLISH": lease} {
		t.Run(command+" refused", func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				refused := w.refuse(command)
				stop := start(t, w.candidate("0", nil))
				for i := range 20 {
					synctest.Wait()
					next := w.candidate(fmt.Sprint(i+1), nil)
					stopNext := start(t, next)
					time.Sleep(lease + lease*time.Duration(i)/20)
					stop()
					begin := time.Now()
					for !next.IsLeader() {
						time.Sleep(time.Millisecond)
					}
					if took := time.Since(begin); took > bound+2*time.Millisecond {
						t.Errorf("another leads after %v, want %v", took, bound)
					}
					stop = stopNext
				}
				if refused.Load() == 0 {
					t.Error("nothing was refused")
				}
			})
		})
	}
}

// A follower is too late for an election. The new leader resigns at once, before the watch of the
// follower has looked, so the watch shows neither the election nor the resignation. The follower
// campaigns as soon as its watch has looked.
func TestMissedTermIsNotWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		b := w.candidate("b", nil)
		stop := w.leadAndFollow(w.candidate("a", nil), b)
		missed := 0
		w.onAcquisition(func(c *server.Peer) bool {
			if missed == 10 {
				return false
			}
			// Another candidate was quicker, and resigns before the reply has arrived.
			missed++
			w.server.Set("{k}:fence", fmt.Sprint(time.Now().UnixMicro()+int64(missed)))
			w.server.Publish("setlock:k", "released by another")
			heldByAnother(c)
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

// After a term another candidate goes first, even if the leader of that term is the quickest.
func TestAnotherGoesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var mu sync.Mutex
		var order []string
		work := func(name string) func(context.Context) error {
			return func(ctx context.Context) error {
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
				return nil
			}
		}
		start(t, w.candidate("a", work("a")))
		synctest.Wait()
		start(t, w.candidate("b", work("b")))
		time.Sleep(10 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		for i := 1; i < len(order); i++ {
			if order[i] == order[i-1] {
				t.Errorf("%s twice in a row: %v", order[i], order)
			}
		}
		if len(order) < 9 {
			t.Errorf("only %d terms in ten seconds", len(order))
		}
	})
}

func TestFailOver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		far := redistest.NewNetwork(t, w.server.Dial)
		var lost, working atomic.Int64
		a := candidate(t, far.Dial, "a", func(ctx context.Context) error {
			working.Add(1)
			defer working.Add(-1)
			<-ctx.Done()
			lost.Store(time.Now().UnixNano())
			return nil
		})
		b := w.candidate("b", func(ctx context.Context) error {
			if working.Load() != 0 {
				t.Error("two lead")
			}
			<-ctx.Done()
			return nil
		})
		w.leadAndFollow(a, b)
		changesA, changesB := changesOf(t, a), changesOf(t, b)
		begin := time.Now()
		far.Set(redistest.Silent)
		if c := next(t, changesA, lease); c.Leading || !errors.Is(c.Err, setlock.ErrLost) {
			t.Errorf("a is told %+v, want that it lost", c)
		}
		nextLeading(t, changesB, lease)
		if got := time.Since(begin); got > lease+5*time.Millisecond {
			t.Errorf("b leads after %v, want a lease and a few milliseconds", got)
		}
		if margin := time.Since(time.Unix(0, lost.Load())); margin < lease/10 {
			t.Errorf("b leads %v after a was told, want at least %v", margin, lease/10)
		}
		far.Set(redistest.Faults{})
		if c := next(t, changesA, lease); c.Leader != "b" {
			t.Errorf("a is told %+v, want that b leads", c)
		}
	})
}
