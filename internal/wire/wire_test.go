package wire_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/internal/trace"
	"example.com/setlock/internal/wire"
)

func TestMain(m *testing.M) { redistest.Main(m) }

var (
	keys    = protocol.NewKeys("k")
	acquire = keys.Acquire("v", time.Minute, true, "", nil)
	release = keys.Release(true, "v")
)

// A world is an embedded server, in virtual time, behind a network that fails as it is told, and a
// pool that has a connection.
type world struct {
	server  *redistest.Embedded
	network *redistest.Network
	pool    *redis.Pool
}

func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{server: redistest.NewEmbedded(t)}
		w.network = redistest.NewNetwork(t, w.server.Dial)
		w.pool = redistest.Pool(t, w.network.Dial)
		for _, command := range []protocol.Command{acquire, release} { // loads the scripts
			if r := wire.Do(t.Context(), w.pool, wire.Request{Command: command}); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		test(t, w)
	})
}

// waits has the server answer WAIT with n.
func (w *world) waits(n int) {
	w.server.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if cmd == "WAIT" {
			c.WriteInt(n)
		}
		return cmd == "WAIT"
	})
}

func script(request []byte) bool { return strings.Contains(string(request), "EVALSHA") }

// What becomes of an acquisition, fault by fault.
func TestFates(t *testing.T) {
	for name, test := range map[string]struct {
		fault    func(w *world)
		replicas int
		want     wire.Fate
		held     bool // afterwards
	}{
		"nothing is wrong": {func(*world) {}, 0, wire.Answered, true},
		"nobody can connect": {func(w *world) {
			w.network.Set(redistest.Faults{Refuse: true})
			w.network.Reset()
			wire.Do(context.Background(), w.pool, wire.Request{Command: acquire}) // meets the broken connection
		}, 0, wire.NotSent, false},
		"refused":         {func(w *world) { w.server.SetError("NOPERM x") }, 0, wire.Refused, false},
		"scripts flushed": {nil, 0, wire.Answered, true},
		"lost, and undone": {func(w *world) {
			w.network.Set(redistest.Faults{HoldReplies: true})
			time.AfterFunc(time.Second, func() {
				w.network.Reset()
				w.network.Set(redistest.Faults{})
			})
		}, 0, wire.Undone, false},
		"lost on its way":           {func(w *world) { w.network.Next(script, redistest.Swallow) }, 0, wire.Unknown, false},
		"lost, and nobody connects": {func(w *world) { w.network.Set(redistest.Faults{Refuse: true}); w.network.Next(script, redistest.Break) }, 0, wire.Unknown, true},
		"replicas have confirmed":   {func(w *world) { w.waits(1) }, 1, wire.Answered, true},
		"replicas have not":         {func(w *world) { w.waits(0) }, 1, wire.Undone, false},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "scripts flushed" {
				test.fault = func(w *world) { redistest.Do(t, w.server.Dial, "SCRIPT", "FLUSH") }
			}
			inBubble(t, func(t *testing.T, w *world) {
				test.fault(w)
				before := time.Now()
				r := wire.Do(t.Context(), w.pool, wire.Request{Command: acquire, Replicas: test.replicas, Undo: release})
				if r.Fate != test.want || (r.Err == nil) != (test.want == wire.Answered) {
					t.Errorf("fate %v, %v, want fate %v", r.Fate, r.Err, test.want)
				}
				if r.Sent.IsZero() != (r.Fate == wire.NotSent) || !r.Sent.IsZero() && r.Sent.Before(before) {
					t.Errorf("sent at %v, with fate %v", r.Sent, r.Fate)
				}
				if r.Fate.MayHaveRun() != (r.Fate == wire.Answered || r.Fate == wire.Undone || r.Fate == wire.Unknown) {
					t.Errorf("fate %v may have run: %v", r.Fate, r.Fate.MayHaveRun())
				}
				if got := w.server.Exists("k"); got != test.held {
					t.Errorf("the key exists: %v, want %v", got, test.held)
				}
			})
		})
	}
}

// A caller whose context ends gets the cause at once, and what it sent is undone.
func TestCallerLeaves(t *testing.T) {
	why := errors.New("why")
	for name, faults := range map[string]redistest.Faults{
		"replies held": {HoldReplies: true}, "requests held": {HoldRequests: true}, "replies lost": {LoseReplies: true}, "silent": redistest.Silent,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.network.Set(faults)
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(why) })
				start := time.Now()
				r := wire.Do(ctx, w.pool, wire.Request{Command: acquire, Undo: release})
				if r.Err != why || r.Fate != wire.Unknown {
					t.Errorf("fate %v, %v, want %v and the cause", r.Fate, r.Err, wire.Unknown)
				}
				if took := time.Since(start); took > time.Second+10*time.Millisecond {
					t.Errorf("returned after %v, want as ctx ended", took)
				}
				time.Sleep(3 * time.Second)
				w.network.Set(redistest.Faults{})
				synctest.Wait()
				if w.server.Exists("k") {
					t.Error("what nobody waits for was not undone")
				}
			})
		})
	}
}

func TestContextThatHasEndedSendsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		before := w.server.CommandCount()
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("why")
		cancel(why)
		if r := wire.Do(ctx, w.pool, wire.Request{Command: acquire}); r.Err != why || r.Fate != wire.NotSent {
			t.Errorf("fate %v, %v, want %v and the cause", r.Fate, r.Err, wire.NotSent)
		}
		if got := w.server.CommandCount(); got != before {
			t.Errorf("%d commands were sent", got-before)
		}
	})
}

// A Dial that knows no ctx is left behind. It sends nothing when it returns.
func TestCallerLeavesADial(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		stuck := make(chan struct{})
		pool := redistest.Pool(t, func(ctx context.Context) (net.Conn, error) {
			<-stuck
			return w.network.Dial(ctx)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		before := w.server.CommandCount()
		start := time.Now()
		r := wire.Do(ctx, pool, wire.Request{Command: acquire, Undo: release})
		if !errors.Is(r.Err, context.DeadlineExceeded) || r.Fate != wire.NotSent || time.Since(start) != time.Second {
			t.Errorf("fate %v, %v after %v, want %v, a timeout, after 1s", r.Fate, r.Err, time.Since(start), wire.NotSent)
		}
		close(stuck)
		synctest.Wait()
		if got := w.server.CommandCount(); got != before {
			t.Errorf("%d commands were sent", got-before)
		}
	})
}

// What follows a confirmation is sent behind it, and how it ends is of no importance.
func TestConfirmedCommandFollows(t *testing.T) {
	for name, fate := range map[string]redistest.Fate{"it arrives": -1, "its connection breaks": redistest.Swallow} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waits(1)
				announcement := protocol.Announcement{Value: "v"}
				if fate >= 0 {
					w.network.Next(func(request []byte) bool { return strings.Contains(string(request), "PUBLISH") }, fate)
				}
				var given any
				r := wire.Do(t.Context(), w.pool, wire.Request{
					Command: acquire, Replicas: 1, Undo: release,
					Confirmed: func(reply any) (then, undo protocol.Command) {
						given = reply
						return keys.Announce(announcement), release
					},
				})
				if r.Err != nil || r.Fate != wire.Answered || given == nil {
					t.Errorf("fate %v, %v, reply %v, want %v", r.Fate, r.Err, given, wire.Answered)
				}
				if !w.server.Exists("k") {
					t.Error("what was confirmed is gone")
				}
			})
		})
	}
}

func TestTrace(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var errs []error
		ctx := trace.NewContext(t.Context(), &trace.Trace{Called: func(at time.Time, err error) {
			if !at.Equal(time.Now()) {
				t.Errorf("called at %v, want now", at)
			}
			errs = append(errs, err)
		}})
		wire.Do(ctx, w.pool, wire.Request{Command: acquire})
		w.server.SetError("NOPERM x")
		wire.Do(ctx, w.pool, wire.Request{Command: acquire})
		wire.Do(trace.Without(ctx), w.pool, wire.Request{Command: acquire})
		if len(errs) != 2 || errs[0] != nil || !wire.AnsweredWith(errs[1], "NOPERM") || wire.AnsweredWith(errs[1], "READONLY") {
			t.Errorf("traced %v, want nil and NOPERM", errs)
		}
	})
}
