package report_test

import (
	"reflect"
	"strings"
	"testing"

	"example.com/setlock/internal/compare/report"
)

// sample returns small results with a floor, a peer and two of ours.
func sample() *report.Results {
	r := &report.Results{
		Date: "2026-01-02", Command: "go run .", CPU: "<CPU & co>", Cores: 2, System: "Linux 6", Go: "1.26", Redis: "7.0", Rounds: 2,
		Peers: []report.Peer{
			{Name: "floor", Waits: "a message", Tells: "a loop", Floor: true},
			{Name: "peer<1>", Version: "1.2.3", Waits: "tries", Tells: "a loop"},
			{Name: "ours", Waits: "a message", Tells: "the library", Ours: true},
			{Name: "ours/election", Waits: "a message", Tells: "the library", Ours: true},
		},
	}
	add := func(scenario, name, metric, peer string, rounds ...float64) {
		for i, v := range rounds {
			r.Add(report.ID{Scenario: scenario, Case: name, Metric: metric, Peer: peer}, i, v)
		}
	}
	for i, p := range r.Peers {
		x := float64(i + 1)
		add("hand-over", "1 waiter", report.Time, p.Name, x, 2*x)
		add("many", "10 locks", report.ClientCPU, p.Name, 10*x, 20*x)
		add("many", "10 locks", report.Heap, p.Name, 5-x, 5-x)
		if !p.Floor {
			add("loss", report.ServerStopped, report.Margin, p.Name, 100*(x-3)+50, 100)
			add("loss", report.KeyDeleted, report.Margin, p.Name, -x, -x)
		}
	}
	r.AddNever(report.ID{Scenario: "loss", Case: report.KeyDeleted, Metric: report.Margin, Peer: "peer<1>"}, true)
	return r
}

func TestEncode(t *testing.T) {
	r := sample()
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := report.Decode(data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if !reflect.DeepEqual(back.Measures, r.Measures) || !reflect.DeepEqual(back.Peers, r.Peers) || back.CPU != r.CPU || back.Rounds != r.Rounds {
		t.Errorf("got %+v, want %+v", back, r)
	}
	if lines := strings.Count(string(data), `"Scenario"`); lines != len(r.Measures) {
		t.Errorf("%d measures, want %d", lines, len(r.Measures))
	}
}

func TestDecode(t *testing.T) {
	for _, bad := range []string{"", "[]", `{"Unknown": 1}`} {
		if _, err := report.Decode([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{1: "1 lock", 2: "2 locks", 1000: "1,000 locks", 1234567: "1,234,567 locks"} {
		if got := report.Count(n, "lock"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
