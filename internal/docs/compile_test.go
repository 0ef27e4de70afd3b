package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.com/setlock/internal/docs"
)

// A module is a Go module that uses this one, as the module of a user does. Each block of Go is a
// package of it.
type module struct {
	t   *testing.T
	dir string
}

// newModule makes a module that needs nothing from the network beyond what this module needs.
func newModule(t *testing.T) *module {
	t.Helper()
	m := &module{t, t.TempDir()}
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	needs := strings.Replace(read(t, "go.mod"), "module example.com/setlock", "module example.com/blocks", 1)
	m.write("go.mod", fmt.Sprintf("%s\nrequire example.com/setlock v0.0.0\n\nreplace example.com/setlock => %q\n", needs, here))
	m.write("go.sum", read(t, "go.sum"))
	return m
}

func (m *module) write(name, text string) {
	m.t.Helper()
	name = filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// add adds a package with one file, which is named after page and line. It returns the path of the
// package for the go command.
func (m *module) add(page string, line int, code string) string {
	m.t.Helper()
	name := fmt.Sprintf("%s_line_%d", strings.NewReplacer("/", "_", ".md", "").Replace(page), line)
	file := name + ".go"
	if strings.Contains(code, "\nfunc Test") && docs.IsComplete(code) {
		file = name + "_test.go"
	}
	m.write(name+"/"+file, code)
	return "./" + name
}

// run runs the go command in m.
func (m *module) run(args ...string) (string, error) {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), "go", args...)
	cmd.Dir = m.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func template(t *testing.T) string {
	t.Helper()
	return read(t, "internal/docs/testdata/fragment.go.txt")
}

// Every block of Go compiles, and go vet finds nothing in it: a program or a test as it is, a
// fragment within testdata/fragment.go.txt.
func TestGoCompiles(t *testing.T) {
	m := newModule(t)
	for _, b := range blocks(t, "go") {
		m.add(b.page, b.Line, docs.GoFile(b.Block, template(t)))
	}
	if out, err := m.run("vet", "./..."); err != nil {
		t.Errorf("go vet: %v\n%s", err, out)
	}
}

// TestGoCompiles would find what does not compile.
func TestGoThatDoesNotCompile(t *testing.T) {
	for name, test := range map[string]struct{ code, note, want string }{
		"a fragment that compiles": {"config, err := redispool.ParseURL(\"redis://localhost\")\n", "sets: config, err", ""},
		"a variable not used":      {"config, err := redispool.ParseURL(\"redis://localhost\")\n", "sets: err", "declared and not used: config"},
		"an unknown name":          {"l.Acquire(ctx)\n", "", "l.Acquire undefined"},
		"a wrong verb":             {"log.Printf(\"%d\", l.Key)\n", "", "wrong type string"},
		"an import not used":       {"package main\n\nimport \"os\"\n\nfunc main() {}\n", "", "\"os\" imported and not used"},
		"an incomplete program":    {"package main\n\nfunc main() { log.Println() }\n", "", "undefined: log"},
		"an internal package":      {"package main\n\nimport _ \"example.com/setlock/internal/clock\"\n\nfunc main() {}\n", "", "use of internal package"},
		"a test that is wrong":     {"package a\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) { t.Nothing() }\n", "", "t.Nothing undefined"},
	} {
		m := newModule(t)
		m.add("docs/page.md", 7, docs.GoFile(docs.Block{Text: test.code, Note: test.note}, template(t)))
		out, err := m.run("vet", "./...")
		if (err == nil) != (test.want == "") || !strings.Contains(out, test.want) {
			t.Errorf("%s: %v, %q, want %q", name, err, out, test.want)
		}
		if err != nil && !strings.Contains(out, "docs_page_line_7") {
			t.Errorf("%s: %q does not name the page and the line", name, out)
		}
	}
}
