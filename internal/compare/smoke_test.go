package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"example.com/setlock/internal/compare/peer"
	"example.com/setlock/internal/compare/report"
	"example.com/setlock/internal/compare/scenario"
	"example.com/setlock/internal/compare/server"
)

func TestMain(m *testing.M) {
	server.ServeEtcd()
	goleak.VerifyTestMain(m,
		// rueidis leaves these behind when a client is closed whose network is cut.
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*pipe)._background"),
		goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*pipe)._backgroundWrite"),
	)
}

// requireRedis is the environment variable that forbids to skip.
const requireRedis = "SETLOCK_REQUIRE_REDIS"

// TestQuick runs every scenario with every peer, writes all files, and then draws the
// picture again from the results.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	dir := t.TempDir()
	svg, again := filepath.Join(dir, "a.svg"), filepath.Join(dir, "b.svg")
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), []string{"-quick", "-out", dir, "-svg", svg}, &stdout, &stderr)
	if errors.Is(err, server.ErrNoRedis) && os.Getenv(requireRedis) == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	results := filepath.Join(dir, "results.json")
	r, err := report.Read(results)
	if err != nil {
		t.Fatal(err)
	}
	if r.Redis == "" || r.Go == "" || r.Date == "" || r.Cores == 0 {
		t.Errorf("the results do not tell where they come from: %+v", r)
	}
	// On a machine that stalls, any trial may fail. But no peer fails in all scenarios.
	measured, works := make(map[string]bool), make(map[string]bool)
	for _, m := range r.Measures {
		measured[m.Scenario+" "+m.Peer] = true
		works[m.Peer] = works[m.Peer] || len(m.Values()) > 0
	}
	for _, p := range peer.All() {
		if !works[p.Name] {
			t.Errorf("%s has no values\n%s", p.Name, &stderr)
		}
	}
	for _, s := range scenario.All() {
		for _, p := range peer.All() {
			if p.TakesPart(s.Name) != measured[s.Name+" "+p.Name] {
				t.Errorf("%s: %s takes part: %v, was measured: %v", s.Name, p.Name, p.TakesPart(s.Name), measured[s.Name+" "+p.Name])
			}
		}
	}
	if got := stdout.String(); got != r.Markdown() {
		t.Errorf("got\n%s\nwant\n%s", got, r.Markdown())
	}
	if err := run(t.Context(), []string{"-from", results, "-svg", again}, new(bytes.Buffer), &stderr); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(again)
	if err != nil || !bytes.Equal(first, second) || len(first) == 0 {
		t.Errorf("the picture that is drawn again differs: %v", err)
	}
}

// TestInterrupt proves that the end of the context ends the measurement.
func TestInterrupt(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs Linux")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := run(ctx, []string{"-quick", "-peers", "floor,setlock", "-out", t.TempDir()}, new(bytes.Buffer), new(bytes.Buffer))
	if errors.Is(err, server.ErrNoRedis) && os.Getenv(requireRedis) == "" {
		t.Skip(err)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestRunRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"-from /no/such/file": "no such file",
		"-peers nobody":       "is none of",
	} {
		err := run(t.Context(), strings.Fields(args), new(bytes.Buffer), new(bytes.Buffer))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q", args, err, want)
		}
	}
}

// TestNoRedis proves that a missing redis-server is an error before anything else.
func TestNoRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := run(t.Context(), []string{"-quick"}, new(bytes.Buffer), new(bytes.Buffer)); !errors.Is(err, server.ErrNoRedis) {
		t.Errorf("got %v, want %v", err, server.ErrNoRedis)
	}
}
