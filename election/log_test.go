package election_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
)

// logOf has e log to the buffer, in JSON.
func logOf(e *election.Election) *bytes.Buffer {
	log := new(bytes.Buffer)
	e.Logger = slog.New(slog.NewJSONHandler(log, nil))
	return log
}

// records returns the records of a JSON log, without their times.
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

// warnedOnce fails t unless the log has one warning.
func warnedOnce(t *testing.T, log *bytes.Buffer) {
	t.Helper()
	if got := strings.Count(log.String(), "attempt failed"); got != 1 {
		t.Errorf("%d warnings for one error: %s", got, log)
	}
}

// A handler is a slog.Handler that is called with each record.
type handler func(slog.Record)

func (h handler) Enabled(context.Context, slog.Level) bool      { return true }
func (h handler) Handle(_ context.Context, r slog.Record) error { h(r); return nil }
func (h handler) WithAttrs([]slog.Attr) slog.Handler            { return h }
func (h handler) WithGroup(string) slog.Handler                 { return h }

func TestLog(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.candidate("a", nil), w.candidate("b", nil)
		logA, logB := logOf(a), logOf(b)
		stopA := start(t, a)
		synctest.Wait()
		stopB := start(t, b)
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
		for i, r := range records(t, logA) {
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
			if r["msg"] == "leadership ended" {
				level := "INFO"
				if strings.Contains(fmt.Sprint(r["err"]), "lock lost") {
					level = "WARN"
				}
				if r["err"] == nil || r["held"] == nil || r["fence"] == nil || r["level"] != level {
					t.Errorf("record %v, want why and how long at level %s", r, level)
				}
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
		for _, r := range records(t, logB) {
			seen = seen || r["msg"] == "new leader seen" && r["leader"] == "a" && r["fence"] == fence && r["level"] == "INFO"
		}
		if !seen {
			t.Error("b has not logged that it saw a lead")
		}
	})
}

// A Logger that exits the goroutine that logs the end of a term: nothing hangs.
func TestLoggerThatExits(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		terms := 0
		e := w.candidate("a", func(ctx context.Context) error {
			terms++
			<-ctx.Done()
			time.Sleep(time.Millisecond) // the goroutine that has found the loss logs it
			return nil
		})
		e.Logger = slog.New(handler(func(r slog.Record) {
			if r.Message == "leadership ended" {
				runtime.Goexit()
			}
		}))
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
