package docs_test

import (
	"os"
	"path/filepath"
	"testing"

	"example.com/setlock/internal/docs"
)

func exists(name string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
	return err == nil
}

// Every relative link and anchor of every page leads somewhere.
func TestLinks(t *testing.T) {
	all := pages(t)
	links := 0
	for _, p := range all {
		links += len(p.Links)
		report(t, docs.BrokenLinks(p, all, exists))
	}
	if len(all) < 12 || links < 60 {
		t.Errorf("%d pages with %d links: the pages are not read as they should be", len(all), links)
	}
}

// Every test that a page names exists. A link whose text is a test leads to the file of the test. The
// guarantees name no test without such a link.
func TestNamesOfTests(t *testing.T) {
	known, spans := functions(t), 0
	all := pages(t)
	for _, p := range all {
		spans += len(p.Spans)
		report(t, docs.UnknownTests(p, func(name string) bool { return known[name] }))
		report(t, docs.MisplacedTests(p, func(file, test string) bool { return exists(file) && functionsOf(t, file)[test] }))
	}
	report(t, docs.UnlinkedTests(all["docs/guarantees.md"]))
	if len(known) < 300 || spans < 300 {
		t.Errorf("%d tests and %d code spans: the files are not read as they should be", len(known), spans)
	}
}

// No line is longer than the pages of this repository allow.
func TestWidth(t *testing.T) {
	for _, p := range pages(t) {
		report(t, docs.LongLines(p))
	}
}

// The README fits on two screens.
func TestREADMEIsShort(t *testing.T) {
	const limit = 156
	if n := len(pages(t)["README.md"].Lines); n > limit {
		t.Errorf("README.md has %d lines, more than %d", n, limit)
	}
}

// Each page of docs/ is linked from the README.
func TestREADMELinksToEachPage(t *testing.T) {
	all := pages(t)
	linked := make(map[string]bool)
	for _, l := range all["README.md"].Links {
		linked[l.Target] = true
	}
	for name := range all {
		if isManual(name) && name != "README.md" && !linked[name] {
			t.Errorf("README.md does not link to %s", name)
		}
	}
}
