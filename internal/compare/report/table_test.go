package report_test

import (
	"strings"
	"testing"

	"example.com/setlock/internal/compare/report"
)

func TestTables(t *testing.T) {
	r := sample()
	for _, c := range []struct{ scenario, want string }{
		{"hand-over", `1 waiter:

| peer | values | median, ms | p99, ms | median ÷ floor | failed |
| --- | --- | --- | --- | --- | --- |
| floor | 2 | 1.50 | 2 | 1 | – |
| peer<1> | 2 | 3 | 4 | 2 | – |
| ours | 2 | 4.50 | 6 | 3 | – |
| ours/election | 2 | 6 | 8 | 4 | – |
`},
		{"many", `10 locks:

| peer | to acquire all, s | process CPU, % | server CPU, % | goroutines for each lock | heap for each lock, KiB | locks lost | process CPU, % ÷ floor |
| --- | --- | --- | --- | --- | --- | --- | --- |
| floor | – | 15 | – | – | 4 | – | 1 |
| peer<1> | – | 30 | – | – | 3 | – | 2 |
| ours | – | 45 | – | – | 2 | – | 3 |
| ours/election | – | 60 | – | – | 1 | – | 4 |
`},
		{"loss", `The server is stopped:

| peer | values | worst, ms | median, ms | best, ms | never told | told in time |
| --- | --- | --- | --- | --- | --- | --- |
| peer<1> | 2 | -50 | 25 | 100 | – | **no** |
| ours | 2 | 50 | 75 | 100 | – | yes |
| ours/election | 2 | 100 | 125 | 150 | – | yes |

The key is deleted:

| peer | values | worst, ms | median, ms | best, ms | never told |
| --- | --- | --- | --- | --- | --- |
| peer<1> | 2 | -2 | -2 | -2 | 1, 1 of them had the key again |
| ours | 2 | -3 | -3 | -3 | – |
| ours/election | 2 | -4 | -4 | -4 | – |
`},
		{"crash", ""},
	} {
		if got := r.Tables(c.scenario); got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.scenario, got, c.want)
		}
	}
}

// TestNeverToldIsNotInTime proves that a holder that was never told counts as told too
// late, and that its peer is not better.
func TestNeverToldIsNotInTime(t *testing.T) {
	r := sample()
	r.AddNever(report.ID{Scenario: "loss", Case: report.ServerStopped, Metric: report.Margin, Peer: "ours"}, false)
	if got, want := r.Tables("loss"), "| ours | 2 | 50 | 75 | 100 | 1 | **no** |"; !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant %s", got, want)
	}
}

func TestBetter(t *testing.T) {
	r := sample()
	want := `- Hand-over, 1 waiter, median in ms: peer<1> 3, against 6 of ours/election.
- Many locks in one process, 10 locks, process CPU, %: peer<1> 30, against 60 of ours/election.
`
	if got := r.Better(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// One round in which the peer is not better is enough. So is a trial that failed.
	id := report.ID{Scenario: "hand-over", Case: "1 waiter", Metric: report.Time, Peer: "peer<1>"}
	r.Add(id, 0, 1000, 1000)
	id.Scenario, id.Case, id.Metric = "many", "10 locks", report.ClientCPU
	r.AddNever(id, false)
	want = "In these results, no peer is clearly better than ours/election in every round.\n"
	if got := r.Better(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// A margin is better if it is greater, also where it is negative.
	r.Add(report.ID{Scenario: "loss", Case: report.KeyTaken, Metric: report.Margin, Peer: "peer<1>"}, 0, -5)
	r.Add(report.ID{Scenario: "loss", Case: report.KeyTaken, Metric: report.Margin, Peer: "ours/election"}, 0, -6)
	want = "- How a holder is told of a loss, " + report.KeyTaken + ", worst margin in ms:\n  peer<1> -5, against -6 of ours/election.\n"
	if got := r.Better(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
