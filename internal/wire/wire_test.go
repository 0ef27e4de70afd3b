package wire_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/internal/trace"
	"example.com/setlock/internal/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var (
	keys    = protocol.NewKeys("k")
	acquire = keys.Acquire("v", time.Minute, true, "", nil)
	release = keys.Release(true, "v")
)

// inBubble runs test with a pool that goes through the network of w, and has a connection. The
// server knows the scripts.
func inBubble(t *testing.T, test func(t *testing.T, w *locktest.World, pool *redis.Pool)) {
	t.Helper()
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		pool := redistest.Pool(t, w.Network.Dial)
		for _, command := range []protocol.Command{acquire, release} {
			if r := (&wire.Call{Pool: pool, Command: command}).Do(t.Context()); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		test(t, w, pool)
	})
}

// What becomes of an acquisition, fault by fault.
func TestFates(t *testing.T) {
	nothing := func(*testing.T, *locktest.World, *redis.Pool) {}
	confirmedBy := func(n int) func(*testing.T, *locktest.World, *redis.Pool) {
		return func(_ *testing.T, w *locktest.World, _ *redis.Pool) { w.Server.Confirm(func() int { return n }) }
	}
	for name, test := range map[string]struct {
		fault    func(t *testing.T, w *locktest.World, pool *redis.Pool)
		replicas int
		want     wire.Fate
		held     bool // afterwards
	}{
		"nothing is wrong": {nothing, 0, wire.Answered, true},
		"nobody can connect": {func(t *testing.T, w *locktest.World, pool *redis.Pool) {
			w.Disconnect()
			(&wire.Call{Pool: pool, Command: acquire}).Do(t.Context()) // meets the broken connection
		}, 0, wire.NotSent, false},
		"refused": {func(_ *testing.T, w *locktest.World, _ *redis.Pool) {
			w.Server.SetError("NOPERM x")
		}, 0, wire.Refused, false},
		"scripts flushed": {func(t *testing.T, w *locktest.World, _ *redis.Pool) {
			redistest.Do(t, w.Server.Dial, "SCRIPT", "FLUSH")
		}, 0, wire.Answered, true},
		"lost, and undone": {func(_ *testing.T, w *locktest.World, _ *redis.Pool) {
			w.Network.Set(redistest.Faults{HoldReplies: true})
			time.AfterFunc(time.Second, func() {
				w.Network.Reset()
				w.Network.Set(redistest.Faults{})
			})
		}, 0, wire.Undone, false},
		"lost on its way": {func(_ *testing.T, w *locktest.World, _ *redis.Pool) {
			w.Network.Next(locktest.Sends("acquire"), redistest.Swallow)
		}, 0, wire.Unknown, false},
		"lost, and nobody connects": {func(_ *testing.T, w *locktest.World, _ *redis.Pool) {
			w.Network.Set(redistest.Faults{Refuse: true})
			w.Network.Next(locktest.Sends("acquire"), redistest.Break)
		}, 0, wire.Unknown, true},
		"replicas have confirmed": {confirmedBy(1), 1, wire.Answered, true},
		"replicas have not":       {confirmedBy(0), 1, wire.Undone, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
				test.fault(t, w, pool)
				before := time.Now()
				r := (&wire.Call{Pool: pool, Command: acquire, Replicas: test.replicas, Undo: release}).Do(t.Context())
				if r.Fate != test.want || (r.Err == nil) != (test.want == wire.Answered) {
					t.Errorf("fate %v, %v, want fate %v", r.Fate, r.Err, test.want)
				}
				if r.Sent.IsZero() != (r.Fate == wire.NotSent) || !r.Sent.IsZero() && r.Sent.Before(before) {
					t.Errorf("sent at %v, with fate %v", r.Sent, r.Fate)
				}
				if r.Fate.MayHaveRun() != (r.Fate == wire.Answered || r.Fate == wire.Undone || r.Fate == wire.Unknown) {
					t.Errorf("fate %v may have run: %v", r.Fate, r.Fate.MayHaveRun())
				}
				synctest.Wait() // the server may be slower to run a command than its connection to break
				if got := w.Server.Exists("k"); got != test.held {
					t.Errorf("the key exists: %v, want %v", got, test.held)
				}
			})
		})
	}
}

// A caller whose context ends gets the cause at once, and its command is undone.
func TestCallerLeaves(t *testing.T) {
	why := errors.New("why")
	for name, faults := range map[string]redistest.Faults{
		"replies held": {HoldReplies: true}, "requests held": {HoldRequests: true}, "replies lost": {LoseReplies: true}, "silent": redistest.Silent,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
				w.Network.Set(faults)
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(why) })
				start := time.Now()
				r := (&wire.Call{Pool: pool, Command: acquire, Undo: release}).Do(ctx)
				if r.Err != why || r.Fate != wire.Unknown {
					t.Errorf("fate %v, %v, want %v and the cause", r.Fate, r.Err, wire.Unknown)
				}
				if took := time.Since(start); took > time.Second+10*time.Millisecond {
					t.Errorf("returned after %v, want as ctx ended", took)
				}
				time.Sleep(3 * time.Second)
				w.Network.Set(redistest.Faults{})
				synctest.Wait()
				if w.Server.Exists("k") {
					t.Error("a command that nobody waits for was not undone")
				}
			})
		})
	}
}

func TestContextThatHasEndedSendsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
		before := w.Server.CommandCount()
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("why")
		cancel(why)
		if r := (&wire.Call{Pool: pool, Command: acquire}).Do(ctx); r.Err != why || r.Fate != wire.NotSent {
			t.Errorf("fate %v, %v, want %v and the cause", r.Fate, r.Err, wire.NotSent)
		}
		if got := w.Server.CommandCount(); got != before {
			t.Errorf("%d commands were sent", got-before)
		}
	})
}

// A caller does not wait for a Dial that knows no ctx. Nothing is sent when that Dial returns.
func TestCallerLeavesADial(t *testing.T) {
	inBubble(t, func(t *testing.T, w *locktest.World, _ *redis.Pool) {
		stuck := make(chan struct{})
		pool := redistest.Pool(t, func(ctx context.Context) (net.Conn, error) {
			<-stuck
			return w.Network.Dial(ctx)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		before := w.Server.CommandCount()
		start := time.Now()
		r := (&wire.Call{Pool: pool, Command: acquire, Undo: release}).Do(ctx)
		if !errors.Is(r.Err, context.DeadlineExceeded) || r.Fate != wire.NotSent || time.Since(start) != time.Second {
			t.Errorf("fate %v, %v after %v, want %v, a timeout, after 1s", r.Fate, r.Err, time.Since(start), wire.NotSent)
		}
		close(stuck)
		synctest.Wait()
		if got := w.Server.CommandCount(); got != before {
			t.Errorf("%d commands were sent", got-before)
		}
	})
}

// The command that follows a confirmation is sent behind it. Its outcome does not matter.
func TestConfirmedCommandFollows(t *testing.T) {
	for name, fate := range map[string]redistest.Fate{"it arrives": -1, "its connection breaks": redistest.Swallow} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
				w.Server.Confirm(func() int { return 1 })
				announcement := protocol.Announcement{Value: "v"}
				if fate >= 0 {
					w.Network.Next(locktest.Sends("PUBLISH"), fate)
				}
				var given any
				call := &wire.Call{
					Pool: pool, Command: acquire, Replicas: 1, Undo: release,
					Confirmed: func(reply any) (then, undo protocol.Command) {
						given = reply
						return keys.Announce(announcement), release
					},
				}
				r := call.Do(t.Context())
				if r.Err != nil || r.Fate != wire.Answered || given == nil {
					t.Errorf("fate %v, %v, reply %v, want %v", r.Fate, r.Err, given, wire.Answered)
				}
				if !w.Server.Exists("k") {
					t.Error("what was confirmed is gone")
				}
			})
		})
	}
}

func TestTrace(t *testing.T) {
	inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
		var errs []error
		ctx := trace.NewContext(t.Context(), &trace.Trace{Called: func(at time.Time, err error) {
			if !at.Equal(time.Now()) {
				t.Errorf("called at %v, want now", at)
			}
			errs = append(errs, err)
		}})
		(&wire.Call{Pool: pool, Command: acquire}).Do(ctx)
		w.Server.SetError("NOPERM x")
		(&wire.Call{Pool: pool, Command: acquire}).Do(ctx)
		(&wire.Call{Pool: pool, Command: acquire}).Do(trace.WithSession(ctx, nil))
		if len(errs) != 2 || errs[0] != nil || !wire.AnsweredWith(errs[1], "NOPERM") || wire.AnsweredWith(errs[1], "READONLY") {
			t.Errorf("traced %v, want nil and NOPERM", errs)
		}
	})
}
