package election_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The Go code of the README is that of the examples, which compile and run.
func TestREADMECode(t *testing.T) {
	lines := func(s string) []string {
		var all []string
		for line := range strings.Lines(s) {
			code, _, _ := strings.Cut(line, " // ")
			if code = strings.TrimSpace(code); code != "" {
				all = append(all, code)
			}
		}
		return all
	}
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	examples := make(map[string]bool)
	for _, name := range []string{"example_test.go", "cluster_test.go", "../setlock/example_test.go", "../setlock/setlocktest/failover_test.go"} {
		for _, line := range lines(read(name)) {
			examples[line] = true
		}
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read("../README.md"), -1)
	if len(blocks) < 2 {
		t.Fatalf("%d blocks of Go in the README", len(blocks))
	}
	for _, block := range blocks {
		for _, line := range lines(block[1]) {
			if !examples[line] {
				t.Errorf("no example has the README's line %q", line)
			}
		}
	}
}
