package setlocktest_test

import (
	"os"
	"strings"
	"testing"
)

// read returns the lines of a file that have code, without their indentation.
func read(t *testing.T, name string, isCode func(line string) bool) (code []string) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if isCode(line) {
			if line = strings.TrimSpace(strings.TrimPrefix(line, "//")); line != "" {
				code = append(code, line)
			}
		}
	}
	return code
}

// The code in the documentation of the package is that of TestFailover, line by line.
func TestDocumentedCode(t *testing.T) {
	documented := read(t, "doc.go", func(line string) bool { return strings.HasPrefix(line, "//\t") })
	if len(documented) < 20 {
		t.Fatalf("%d lines of code in the documentation", len(documented))
	}
	source := read(t, "failover_test.go", func(string) bool { return true })
	if !strings.Contains(strings.Join(source, "\n"), strings.Join(documented, "\n")) {
		t.Errorf("failover_test.go does not have this code in one piece:\n%s", strings.Join(documented, "\n"))
	}
}
