package wire_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/wire"
)

// renewals are the commands of a batch: n renewals of keys that have the value v.
func renewals(w *locktest.World, n int) []protocol.Command {
	commands := make([]protocol.Command, n)
	for i := range commands {
		key := "k" + strconv.Itoa(i)
		w.Server.Set(key, "v")
		commands[i] = protocol.NewKeys(key).Renew("v", time.Minute)
	}
	return commands
}

// loadRenew has the server know the script of the renewals.
func loadRenew(t *testing.T, pool *redis.Pool) {
	t.Helper()
	command := keys.Renew("v", time.Minute).WithSource()
	if r := (&wire.Call{Pool: pool, Command: command}).Do(t.Context()); r.Err != nil {
		t.Fatal(r.Err)
	}
}

// results has the results of a batch, by index.
type results map[int]wire.Result

// doAll runs a batch, and fails t if a command has two results, or one that is not of its fate.
func doAll(t *testing.T, ctx context.Context, pool *redis.Pool, b wire.Batch) (results, wire.Fate, error) {
	t.Helper()
	got := make(results)
	start := time.Now()
	b.Answered = func(i int, r wire.Result) {
		if _, twice := got[i]; twice {
			t.Errorf("command %d has two results", i)
		}
		if r.Sent.Before(start) || r.Fate != wire.Answered && r.Fate != wire.Refused {
			t.Errorf("command %d was sent at %v with fate %v", i, r.Sent, r.Fate)
		}
		got[i] = r
	}
	fate, err := wire.DoAll(ctx, pool, b)
	if complete := len(got) == len(b.Commands); complete != (err == nil) || complete != (fate == wire.Answered) {
		t.Errorf("%d of %d commands have a result, and DoAll = %v, %v", len(got), len(b.Commands), fate, err)
	}
	return got, fate, err
}

// answered fails t unless the first n commands were answered, with these errors.
func (r results) answered(t *testing.T, n int, failed func(i int) string) {
	t.Helper()
	if len(r) != n {
		t.Errorf("%d commands have a result, want %d", len(r), n)
	}
	for i := range n {
		want := ""
		if failed != nil {
			want = failed(i)
		}
		switch result := r[i]; {
		case want == "" && (result.Err != nil || result.Reply != int64(1)):
			t.Errorf("command %d: %v, %v, want 1", i, result.Reply, result.Err)
		case want != "" && (result.Err == nil || !strings.Contains(result.Err.Error(), want)):
			t.Errorf("command %d: %v, want an error with %q", i, result.Err, want)
		}
	}
}

func TestBatch(t *testing.T) {
	for _, n := range []int{1, 2, 128, 129, 1000} {
		for _, replicas := range []int{0, 2} {
			inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
				w.Server.Quick()
				waits := w.Server.Count("WAIT")
				w.Server.Confirm(func() int { return 2 })
				loadRenew(t, pool)
				idle := pool.IdleCount()
				got, _, _ := doAll(t, t.Context(), pool, wire.Batch{Commands: renewals(w, n), Replicas: replicas, Wait: time.Second})
				got.answered(t, n, nil)
				if waits() != replicas/2 {
					t.Errorf("%d WAIT, want one if there are replicas", waits())
				}
				if pool.IdleCount() != idle {
					t.Error("the connection was not given back")
				}
			})
		}
	}
}

// Every command that is refused has the error as its own result.
func TestBatchWithErrors(t *testing.T) {
	for answer, kept := range map[string]bool{"READONLY x": false, "LOADING x": false, "MISCONF x": true, "BUSY x": true} {
		inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
			loadRenew(t, pool)
			calls := 0
			w.Server.Refuse(answer, func() bool { calls++; return calls%2 == 0 }, "renew")
			got, _, _ := doAll(t, t.Context(), pool, wire.Batch{Commands: renewals(w, 10)})
			got.answered(t, 10, func(i int) string {
				if i%2 == 1 {
					return answer
				}
				return ""
			})
			if idle := pool.IdleCount(); idle == 1 != kept {
				t.Errorf("%s: the connection was kept: %v, want %v", answer, idle == 1, kept)
			}
		})
	}
}

// The connection breaks, or ctx ends, when some commands are answered. They keep their results.
func TestBatchThatIsAnsweredInPart(t *testing.T) {
	why := errors.New("why")
	for _, breaks := range []bool{true, false} {
		for _, before := range []int{0, 1, 5} {
			inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
				loadRenew(t, pool)
				end := w.Hold()
				calls := 0
				w.Server.Answer(func(c *server.Peer, _ []string) bool {
					calls++
					switch {
					case calls <= before:
						return false
					case breaks:
						c.Close()
					default:
						<-end
					}
					return true
				}, "renew")
				ctx, cancel := context.WithCancelCause(t.Context())
				defer time.AfterFunc(time.Second, func() { cancel(why) }).Stop()
				start := time.Now()
				got, fate, err := doAll(t, ctx, pool, wire.Batch{Commands: renewals(w, 10)})
				got.answered(t, before, nil)
				took := time.Since(start)
				if fate != wire.Unknown || breaks && (err == why || took != 0) || !breaks && (err != why || took != time.Second) {
					t.Errorf("breaks %v, %d answered: fate %v, %v after %v", breaks, before, fate, err, took)
				}
				if pool.IdleCount() != 0 {
					t.Error("the connection was given back")
				}
			})
		}
	}
}

// Where the server does not know the script, the batch loads it and goes out once more.
func TestBatchWithoutItsScript(t *testing.T) {
	for _, n := range []int{1, 2, 200} {
		inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
			requests, waits := w.Server.Count("renew"), w.Server.Count("WAIT")
			w.Server.Confirm(func() int { return 1 })
			got, _, _ := doAll(t, t.Context(), pool, wire.Batch{Commands: renewals(w, n), Replicas: 1, Wait: time.Second})
			got.answered(t, n, nil)
			if requests() != 2*n || waits() != 2 {
				t.Errorf("%d requests and %d WAIT of %d commands, want two of each", requests(), waits(), n)
			}
		})
	}
	// A server that never learns it: each command has the error as its result.
	inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
		requests := w.Server.Count("renew")
		w.Server.Refuse("NOSCRIPT No matching script.", nil, "renew")
		got, _, _ := doAll(t, t.Context(), pool, wire.Batch{Commands: renewals(w, 5)})
		got.answered(t, 5, func(int) string { return "NOSCRIPT" })
		if requests() != 10 {
			t.Errorf("%d requests, want two of each", requests())
		}
	})
	// The script is lost in the middle: only the commands behind go out again.
	inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
		loadRenew(t, pool)
		requests := w.Server.Count("renew")
		calls := 0
		w.Server.Refuse("NOSCRIPT No matching script.", func() bool { calls++; return calls == 4 || calls == 7 }, "renew")
		got, _, _ := doAll(t, t.Context(), pool, wire.Batch{Commands: renewals(w, 10)})
		got.answered(t, 10, nil)
		if requests() != 12 {
			t.Errorf("%d requests, want ten and the two that were missing", requests())
		}
	})
}

// Too few replicas are an error of every command that wrote, and of no other.
func TestBatchThatTooFewConfirm(t *testing.T) {
	for reply, want := range map[int]string{0: "confirmed by 0 of 2 replicas", 1: "confirmed by 1 of 2 replicas", 2: "", 3: ""} {
		inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) {
			loadRenew(t, pool)
			w.Server.Confirm(func() int { return reply })
			commands := renewals(w, 4)
			w.Server.Set("k1", "another's")
			w.Server.Del("k2")
			w.Server.Lpush("k2", "x")
			got, fate, err := doAll(t, t.Context(), pool, wire.Batch{Commands: commands, Replicas: 2, Wait: time.Second})
			if fate != wire.Answered || err != nil || len(got) != 4 {
				t.Errorf("fate %v, %v, %d results", fate, err, len(got))
			}
			if got[1].Err != nil || got[1].Reply != int64(0) || !wire.AnsweredWith(got[2].Err, "WRONGTYPE") {
				t.Errorf("what wrote nothing: %+v, %+v", got[1], got[2])
			}
			for _, i := range []int{0, 3} {
				if err := got[i].Err; (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("command %d, confirmed by %d: %v, want %q", i, reply, err, want)
				}
			}
		})
	}
	inBubble(t, func(t *testing.T, w *locktest.World, pool *redis.Pool) { // the WAIT is never answered
		loadRenew(t, pool)
		end := w.Hold()
		w.Server.Answer(func(*server.Peer, []string) bool { <-end; return true }, "WAIT")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, fate, err := doAll(t, ctx, pool, wire.Batch{Commands: renewals(w, 4), Replicas: 1, Wait: time.Second})
		if len(got) != 0 || fate != wire.Unknown || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d results, fate %v, %v, want none, unknown, a timeout", len(got), fate, err)
		}
	})
}
