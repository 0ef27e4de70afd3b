package election_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
)

// records returns the records of a JSON log.
func records(t *testing.T, b *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for d := json.NewDecoder(b); d.More(); {
		var r map[string]any
		if err := d.Decode(&r); err != nil {
			t.Fatal(err)
		}
		delete(r, "time")
		all = append(all, r)
	}
	return all
}

func TestLog(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		logs := make(map[string]*bytes.Buffer)
		start := func(owner string) (e *election.Election, stop func()) {
			logs[owner] = new(bytes.Buffer)
			e = w.candidate(owner, nil)
			e.Logger = slog.New(slog.NewJSONHandler(logs[owner], nil))
			return e, start(t, e)
		}
		a, stopA := start("a")
		synctest.Wait()
		_, stopB := start("b")
		time.Sleep(lease)
		fence := float64(a.Leader().Fence)
		for range 3 { // two errors, tried again and again
			w.network.Set(redistest.Faults{Refuse: true})
			w.network.Reset()
			time.Sleep(2 * lease)
			w.network.Set(redistest.Faults{})
			time.Sleep(4 * lease)
		}
		stopA()
		stopB()
		messages := make(map[string]int)
		for i, r := range records(t, logs["a"]) {
			if r["key"] != "k" || r["owner"] != "a" {
				t.Errorf("record %v without its keys", r)
			}
			for key := range r {
				if !slices.Contains([]string{"level", "msg", "key", "owner", "leader", "fence", "err", "held"}, key) {
					t.Errorf("record %v has the key %s", r, key)
				}
			}
			if i == 0 && (r["msg"] != "elected" || r["fence"] != fence || r["level"] != "INFO") {
				t.Errorf("the first record is %v, want elected with %v", r, fence)
			}
			if r["msg"] == "leadership ended" && (r["err"] == nil || r["held"] == nil || r["fence"] == nil || r["level"] != "INFO") {
				t.Errorf("record %v, want why and how long", r)
			}
			messages[r["msg"].(string)]++
			if r["msg"] == "attempt failed" && (r["level"] != "WARN" || r["err"] == nil) {
				t.Errorf("record %v, want a warning with the error", r)
			}
		}
		// An outage of two leases has dozens of attempts and a few kinds of errors.
		if n := messages["attempt failed"]; n < 3 || n > 15 {
			t.Errorf("%d warnings in three outages, want each kind once: %v", n, messages)
		}
		seen := false
		for _, r := range records(t, logs["b"]) {
			seen = seen || r["msg"] == "new leader seen" && r["leader"] == "a" && r["fence"] == fence && r["level"] == "INFO"
		}
		if !seen {
			t.Error("b has not logged that it saw a lead")
		}
	})
}

// An exiting Handler ends the goroutine that logs the end of a term.
type exiting struct{ slog.Handler }

func (h exiting) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "leadership ended" {
		runtime.Goexit()
	}
	return h.Handler.Handle(ctx, r)
}

func (h exiting) WithAttrs([]slog.Attr) slog.Handler { return h }

// A Logger that exits in the goroutine that renews hangs nobody.
func TestLoggerThatExits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		terms := 0
		e := w.candidate("a", func(ctx context.Context) error {
			terms++
			<-ctx.Done()
			time.Sleep(time.Millisecond) // whoever has found the loss logs it
			return nil
		})
		e.Logger = slog.New(exiting{slog.NewTextHandler(io.Discard, nil)})
		stop := start(t, e)
		time.Sleep(lease)
		w.server.Del("k")
		time.Sleep(2 * lease)
		stop()
		if terms != 2 {
			t.Errorf("%d terms, want another one after the first was lost", terms)
		}
	})
}

// pacer counts the steps that are asked of it, and the resets.
type pacer struct {
	step          time.Duration
	steps, resets int
}

func (p *pacer) NextBackOff() time.Duration { p.steps++; return p.step }

func (p *pacer) Reset() { p.resets++ }

func TestPace(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		p := &pacer{step: time.Second}
		failure := errors.New("failure")
		terms := 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var last time.Time
		a := w.candidate("a", func(context.Context) error {
			if terms++; terms > 1 {
				if got := time.Since(last); got < time.Second {
					t.Errorf("term %d began %v after the one before, want a step of %v", terms, got, p.step)
				}
			}
			if terms == 5 {
				cancel()
			}
			last = time.Now()
			return failure
		})
		a.BackOff = func() backoff.BackOff { return p }
		w.network.Set(redistest.Faults{Refuse: true})
		time.AfterFunc(10*time.Second, func() { w.network.Set(redistest.Faults{}) })
		if err := a.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
		if p.steps < 14 || p.steps > 15 {
			t.Errorf("%d steps, want about ten of a failing Redis and four between terms", p.steps)
		}
		if p.resets != 1 {
			t.Errorf("%d resets without a success, want the one of Run", p.resets)
		}
	})
}

// Another goes first after a term, even where this candidate is the quickest.
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

// A told calls a function for each record.
type told struct {
	slog.Handler
	tell func(slog.Record)
}

func (h told) Handle(_ context.Context, r slog.Record) error {
	h.tell(r)
	return nil
}

// Nobody is told of the end of a term before its context has ended, by itself too.
func TestContextEndsBeforeAnybodyIsTold(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var term context.Context
		a := w.candidate("a", func(ctx context.Context) error {
			term = ctx
			return backoff.Permanent(errors.New("enough"))
		})
		ends := 0
		a.Logger = slog.New(told{slog.NewTextHandler(io.Discard, nil), func(r slog.Record) {
			if r.Message != "leadership ended" {
				return
			}
			ends++
			if term.Err() == nil {
				t.Error("told of the end while the context lives")
			}
		}})
		if err := a.Run(t.Context()); err == nil || err.Error() != "enough" {
			t.Errorf("Run = %v, want what OnElected returned", err)
		}
		if ends != 1 {
			t.Errorf("told of %d ends, want 1", ends)
		}
	})
}
