package docs_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/setlock/internal/docs"
	"example.com/setlock/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// root is the root of the module, from this package.
const root = "../.."

// files returns the names of the files of the repository that end in suffix, from its root.
func files(t *testing.T, suffix string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(path, suffix) {
			name, err := filepath.Rel(root, path)
			names = append(names, filepath.ToSlash(name))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// read returns the text of a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pages returns all Markdown files of the repository by name.
func pages(t *testing.T) map[string]*docs.Page {
	t.Helper()
	all := make(map[string]*docs.Page)
	for _, name := range files(t, ".md") {
		all[name] = docs.Parse(name, read(t, name))
	}
	return all
}

// isManual reports whether the code and the commands of a page are checked: README.md, SECURITY.md
// and what is in docs/. The other pages are for people who change this module.
func isManual(name string) bool {
	return name == "README.md" || name == "SECURITY.md" || strings.HasPrefix(name, "docs/")
}

// A block is a block of a page of the manual.
type block struct {
	docs.Block
	page string
}

// blocks returns the blocks of the manual in these languages, sorted by page and line. It fails t if
// there is none.
func blocks(t *testing.T, langs ...string) (all []block) {
	t.Helper()
	for _, p := range pages(t) {
		for _, b := range p.Blocks {
			if isManual(p.Name) && slices.Contains(langs, b.Lang) {
				all = append(all, block{b, p.Name})
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("no block in %v", langs)
	}
	slices.SortFunc(all, func(a, b block) int {
		if a.page != b.page {
			return strings.Compare(a.page, b.page)
		}
		return a.Line - b.Line
	})
	return all
}

// functions returns the names of all tests, benchmarks, examples and fuzz tests of the repository.
func functions(t *testing.T) map[string]bool {
	t.Helper()
	known := make(map[string]bool)
	for _, name := range files(t, "_test.go") {
		maps.Copy(known, functionsOf(t, name))
	}
	return known
}

var function = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Example|Fuzz)\w*)\(`)

// functionsOf returns those of one file.
func functionsOf(t *testing.T, file string) map[string]bool {
	t.Helper()
	known := make(map[string]bool)
	for _, m := range function.FindAllStringSubmatch(read(t, file), -1) {
		known[m[1]] = true
	}
	return known
}

// report fails t with each of the problems.
func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}
