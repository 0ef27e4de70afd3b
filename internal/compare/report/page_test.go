package report_test

import (
	"os"
	"strings"
	"testing"

	"example.com/setlock/internal/compare/report"
)

// page returns a page with all markers but those that are left out, and old text between
// them.
func page(without string) []byte {
	var b strings.Builder
	b.WriteString("# Title\n")
	for _, name := range []string{"machine", "hand-over", "crash", "many", "loss", "stopped", "better"} {
		if name != without {
			b.WriteString("\nBefore " + name + ".\n\n<!-- compare: " + name + " -->\nold text\n<!-- compare: end -->\n")
		}
	}
	return []byte(b.String())
}

func TestFill(t *testing.T) {
	r := sample()
	got, err := r.Fill(page(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Title\n", "Before crash.\n", r.Tables("loss"), r.Better(), r.Machine()} {
		if !strings.Contains(string(got), want) {
			t.Errorf("got\n%s\nwithout\n%s", got, want)
		}
	}
	if strings.Contains(string(got), "old text") {
		t.Errorf("the old text is still there:\n%s", got)
	}
	again, err := r.Fill(got)
	if err != nil || string(again) != string(got) {
		t.Errorf("a page that is filled twice changes: %v\n%s", err, again)
	}
}

func TestFillRefuses(t *testing.T) {
	r := sample()
	for name, c := range map[string]struct{ page, want string }{
		"missing":   {string(page("crash")), `"crash" is missing`},
		"unknown":   {string(page("")) + "<!-- compare: other -->\n<!-- compare: end -->\n", `"other" is unknown`},
		"twice":     {string(page("")) + "<!-- compare: loss -->\n<!-- compare: end -->\n", `"loss" is unknown or there twice`},
		"no end":    {string(page("loss")) + "<!-- compare: loss -->\n", `"loss" has no end`},
		"nested":    {"<!-- compare: loss -->\n<!-- compare: many -->\n", `"loss" has no end`},
		"stray end": {"<!-- compare: end -->\n", "without a beginning"},
	} {
		if _, err := r.Fill([]byte(c.page)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %s", name, err, c.want)
		}
	}
}

// The published page, its picture, and the results that both are made of.
const (
	committed = "../results.json"
	docsPage  = "../../../docs/benchmarks.md"
	docsSVG   = "../../../docs/benchmarks.svg"
	redraw    = "run in internal/compare: go run . -from results.json -page ../../docs/benchmarks.md -svg ../../docs/benchmarks.svg"
)

// TestDocs proves that the published tables and the picture are what the committed
// results give.
func TestDocs(t *testing.T) {
	r, err := report.Read(committed)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(docsPage)
	if err != nil {
		t.Fatal(err)
	}
	want, err := r.Fill(got)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s is not what the results give: %s", docsPage, redraw)
	}
	picture, err := os.ReadFile(docsSVG)
	if err != nil {
		t.Fatal(err)
	}
	if string(picture) != string(r.SVG()) {
		t.Errorf("%s is not what the results give: %s", docsSVG, redraw)
	}
}
