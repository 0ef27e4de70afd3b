package election_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/election"
	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// Unlucky schedules, one by one.

func TestLossAfterResignIsToldAtOnce(t *testing.T) {
	for _, how := range []string{"resign", "stop"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				leave := make(chan struct{})
				a := w.candidate("a", func(context.Context) error {
					<-leave // ignores its context
					return nil
				})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- a.Run(ctx) }()
				time.Sleep(lease)
				changes := a.Changes()
				next(t, changes, 0)
				if how == "resign" {
					a.Resign()
				} else {
					cancel()
				}
				time.Sleep(time.Second)
				w.server.Del("k")
				other := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, w.server.Dial)}
				if _, err := other.Lock(t.Context(), time.Hour); err != nil {
					t.Fatal(err)
				}
				if c := next(t, changes, 0); c.Leading || !errors.Is(c.Err, setlock.ErrLost) {
					t.Errorf("told %+v, want the loss", c)
				}
				if got := a.Leader(); got.Owner == "a" {
					t.Errorf("Leader = %+v after the loss", got)
				}
				cancel()
				close(leave)
				if err := <-done; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}

// A Redis that can be read and refuses every acquisition.
func TestCheckSeesRefusedAttempts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.server.Set("{k}:fence", "foreign")
		a := w.candidate("a", nil)
		log := new(bytes.Buffer)
		a.Logger = slog.New(slog.NewJSONHandler(log, nil))
		stop := start(t, a)
		time.Sleep(100 * lease)
		for range 20 {
			time.Sleep(lease / 7)
			if err := a.Check(50 * lease); err == nil || !strings.Contains(err.Error(), "foreign value") {
				t.Errorf("Check = %v, want the error of the attempts", err)
			}
		}
		w.server.Del("{k}:fence")
		time.Sleep(2 * lease) // a step of the pace is 7.5 s at most
		if err := a.Check(0); err != nil || !a.IsLeader() {
			t.Errorf("Check = %v, IsLeader = %v when the attempts succeed", err, a.IsLeader())
		}
		stop()
		if got := strings.Count(log.String(), "attempt failed"); got != 1 {
			t.Errorf("%d warnings for one error: %s", got, log)
		}
	})
}

// The elapsed time that a BackOff counts is that of failures, not of following.
func TestFollowingIsNoFailure(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		holder := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, w.server.Dial)}
		if _, err := holder.Lock(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		a := w.candidate("a", nil)
		a.BackOff = func() backoff.BackOff { return backoff.NewExponentialBackOff() } // 15 minutes
		start(t, a)
		time.Sleep(time.Hour - time.Second)
		w.server.Set("{k}:fence", "foreign") // its first attempts fail
		time.Sleep(time.Minute)
		if err := a.Check(lease); err == nil {
			t.Error("no attempt has failed")
		}
		w.server.Del("{k}:fence")
		time.Sleep(2 * time.Minute)
		if !a.IsLeader() {
			t.Error("a has given up")
		}
	})
}

// When a term is told to be over, it is.
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

// A handler is a slog.Handler.
type handler func(slog.Record)

func (h handler) Enabled(context.Context, slog.Level) bool      { return true }
func (h handler) Handle(_ context.Context, r slog.Record) error { h(r); return nil }
func (h handler) WithAttrs([]slog.Attr) slog.Handler            { return h }
func (h handler) WithGroup(string) slog.Handler                 { return h }

// Without push, a candidate that has resigned sees the next leader as soon as others do.
func TestResignWithoutPush(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		redistest.Do(t, w.server.Dial, "PING")
		w.server.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
			if strings.EqualFold(cmd, "SUBSCRIBE") {
				c.WriteError("NOPERM no channels")
				return true
			}
			return false
		})
		a := w.candidate("a", nil)
		a.BackOff = func() backoff.BackOff { return backoff.NewConstantBackOff(2 * lease) } // lets b go first
		start(t, a)
		synctest.Wait()
		b := w.candidate("b", nil)
		start(t, b)
		time.Sleep(3 * lease)
		changes := a.Changes()
		next(t, changes, 0)
		a.Resign()
		next(t, changes, 0)
		if c := next(t, changes, lease/5+lease/100); c.Leader != "b" {
			t.Errorf("told %+v, want that b leads", c)
		}
	})
}

// The data is lost and the clock set back, so the next leader's fence is lower than that of
// our last term: it is shown all the same.
func TestLeaderWithALowerFenceIsSeen(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		changes := a.Changes()
		next(t, changes, 0)
		start(t, a)
		own := next(t, changes, 0)
		w.server.FlushAll()
		w.server.SetTime(time.Now().Add(-time.Hour))
		start(t, w.candidate("b", nil))
		if c := next(t, changes, lease); c.Leading || !errors.Is(c.Err, setlock.ErrLost) {
			t.Errorf("told %+v, want the loss", c)
		}
		if c := next(t, changes, lease); c.Leader != "b" || c.Fence == 0 || c.Fence >= own.Fence {
			t.Errorf("told %+v, want that b leads with less than %d", c, own.Fence)
		}
		if got := a.Leader(); got.Owner != "b" {
			t.Errorf("Leader = %+v, want b", got)
		}
		time.Sleep(lease)
		if len(changes) > 0 {
			t.Errorf("told %+v besides", <-changes)
		}
	})
}

// A watch that is late tells of another's term when our own, which came after it, is over. It is no
// news of a new leader.
func TestEarlierTermIsNotSeenAfterOurs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		terms := make(chan time.Time, 1)
		var a *election.Election
		a = candidate(t, func(ctx context.Context) (net.Conn, error) {
			conn, err := w.network.Dial(ctx) // takes what the server sends at once
			return &lateNews{Conn: conn, by: 20 * time.Millisecond}, err
		}, "a", func(context.Context) error {
			terms <- time.Now()
			a.Resign()
			return nil
		})
		other := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, w.server.Dial), Owner: "other"}
		lock := func() {
			t.Helper()
			if _, err := other.Lock(t.Context(), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		unlock := func() {
			t.Helper()
			if err := other.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		lock()
		start(t, a)
		time.Sleep(time.Second)
		changes := a.Changes()
		next(t, changes, 0)
		unlock()
		time.Sleep(time.Millisecond)
		lock()
		time.Sleep(time.Millisecond)
		unlock()

		first := <-terms
		if second := <-terms; second.Sub(first) < 50*time.Millisecond {
			t.Errorf("elected again %v after its term, want a step of the pace", second.Sub(first))
		}
		led := false
		for len(changes) > 0 {
			c := <-changes
			led = led || c.Leading
			if led && c.Leader == "other" {
				t.Errorf("told %+v after its own term", c)
			}
		}
		if !led {
			t.Error("not told of its own term")
		}
	})
}

// lateNews is a connection on which announcements come late.
type lateNews struct {
	net.Conn
	by    time.Duration
	hears atomic.Bool
}

func (c *lateNews) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("SUBSCRIBE")) {
		c.hears.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *lateNews) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.hears.Load() {
		time.Sleep(c.by)
	}
	return n, err
}

func TestChannelsOfARunThatCannotBegin(t *testing.T) {
	for _, e := range []*election.Election{{}, {Lock: &setlock.Lock{}}} {
		changes := e.Changes()
		if err := e.Run(t.Context()); err == nil {
			t.Error("Run = nil")
		}
		<-changes // the present state
		if _, open := <-changes; open {
			t.Error("the channel is open after Run")
		}
	}
}

// A lock that is lost before its term has begun: Changes tells at once that it has
// ended, too, though OnElected still runs.
func TestLossBeforeTheTermIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		leave := make(chan struct{})
		a := w.candidate("a", func(context.Context) error {
			<-leave // ignores its context
			return nil
		})
		ctx, cancel := context.WithCancel(clock.NewContext(t.Context(), &meddler{Clock: clock.System, in: "(*Election).beginTerm", do: func() {
			if err := a.Lock.Unlock(t.Context()); err != nil {
				t.Errorf("Unlock: %v", err)
			}
		}}))
		defer cancel()
		changes := a.Changes()
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		next(t, changes, 0)
		if c := next(t, changes, 0); !c.Leading {
			t.Errorf("told %+v, want the election", c)
		}
		if c := next(t, changes, 0); c.Leading || !errors.Is(c.Err, setlock.ErrLost) {
			t.Errorf("told %+v, want the loss", c)
		}
		cancel()
		close(leave)
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// OnElected uses another lock, on another Redis, with its context: what becomes of that
// is not the election's.
func TestOtherLocksAreNoneOfItsBusiness(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		there := redistest.NewEmbedded(t) // at the same time by its clock: fences are the same
		network := redistest.NewNetwork(t, there.Dial)
		other := &setlock.Lock{Key: "other", Pool: redistest.Pool(t, network.Dial), Lease: lease}
		a := w.candidate("a", func(ctx context.Context) error {
			err := other.Do(ctx, func(inner context.Context) error {
				if there, here := other.Fence(), fenceOf(ctx); there != here {
					t.Errorf("fence %d there, %d here, want the same", there, here)
				}
				network.Set(redistest.Silent)
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
		log := new(bytes.Buffer)
		a.Logger = slog.New(slog.NewJSONHandler(log, nil))
		changes := a.Changes()
		stop := start(t, a)
		for range 50 {
			time.Sleep(lease / 10)
			if err := a.Check(lease / 3); err != nil || !a.IsLeader() || a.Leader().Owner != "a" {
				t.Fatalf("Check = %v, IsLeader %v, Leader %+v", err, a.IsLeader(), a.Leader())
			}
		}
		next(t, changes, 0)
		if c := next(t, changes, 0); !c.Leading || len(changes) != 0 {
			t.Errorf("told %+v and %d changes more, want the election", c, len(changes))
		}
		if got := records(t, log); len(got) != 1 {
			t.Errorf("logged %v, want the election", got)
		}
		stop()
	})
}

func fenceOf(ctx context.Context) int64 {
	fence, _ := setlock.FenceFromContext(ctx)
	return fence
}

// A meddler is a clock that does something when it is first asked for the time by a function.
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
