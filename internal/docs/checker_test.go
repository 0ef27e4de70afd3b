package docs_test

import (
	"slices"
	"strings"
	"testing"

	"example.com/setlock/internal/docs"
)

const fence = "```"

// Each check finds what is wrong, and nothing else.
func TestChecks(t *testing.T) {
	long := strings.Repeat("word ", 21)
	for name, test := range map[string]struct {
		text string
		want string // part of the only problem; "" for none
	}{
		"all is well":                  {"# A b\n\n[a](#a-b) [b](docs/b.md) [c](docs/b.md#c) [d](docs) `TestKnown/sub` <https://a.b>\n", ""},
		"file":                         {"[a](docs/c.md)", "docs/c.md does not exist"},
		"image":                        {"![a](docs/c.svg)", "docs/c.svg does not exist"},
		"image in a link":              {"[![a](docs/c.svg)](docs/b.md)", "docs/c.svg does not exist"},
		"link around an image":         {"[![a](docs/b.md)](docs/c.md)", "docs/c.md does not exist"},
		"wrapped link":                 {"a [b\nc](docs/c.md)", "page.md:1: docs/c.md does not exist"},
		"link in a table":              {"| a | [b](docs/c.md) |", "docs/c.md does not exist"},
		"link in a list":               {"- a\n  [b](docs/c.md)", "page.md:2: docs/c.md does not exist"},
		"link in a heading":            {"# a [b](docs/c.md)", "docs/c.md does not exist"},
		"anchor of the page":           {"# A\n\n[a](#b)", "#b has no such heading"},
		"anchor of another":            {"[a](docs/b.md#d)", "docs/b.md#d has no such heading"},
		"anchor of no page":            {"[a](docs/b.go#d)", "docs/b.go#d has no such heading"},
		"anchor of a second heading":   {"# A\n\n# A\n\n[a](#a) [a](#a-1)", ""},
		"anchor of a heading in code":  {fence + "go\n# A\n" + fence + "\n\n[a](#a)", "#a has no such heading"},
		"out of the repository":        {"[a](../b.md)", "leads out of the repository"},
		"absolute":                     {"[a](/docs/b.md)", "leads out of the repository"},
		"another site":                 {"[a](https://a.b/c.md#d)", ""},
		"link in code":                 {"`[a](docs/c.md)`", ""},
		"link in wrapped code":         {"`a\n[a](docs/c.md)`", ""},
		"link in a block":              {"    go version  # [a](docs/c.md)\n\n" + fence + "go\n[a](docs/c.md)\n" + fence, ""},
		"link after a block":           {"    go version\n\n[a](docs/c.md)", "page.md:3: docs/c.md does not exist"},
		"test":                         {"`TestUnknown`", "no test is named TestUnknown"},
		"subtest":                      {"`TestUnknown/a`", "no test is named TestUnknown"},
		"example":                      {"a `ExampleUnknown_b` c", "no test is named ExampleUnknown_b"},
		"benchmark in a table":         {"| a | `BenchmarkUnknown` |", "no test is named BenchmarkUnknown"},
		"test in wrapped text":         {"a\nb `TestUnknown`", "page.md:2: no test is named TestUnknown"},
		"test in its file":             {"a [`TestKnown`] b [`TestKnown`](docs/b.go)\n\n[`TestKnown`]: docs/b.go", ""},
		"test in another file":         {"a [`TestKnown`](docs/b.go) b\n[`TestKnown`] c\n\n[`TestKnown`]: docs/b.md", "page.md:4: docs/b.md has no TestKnown"},
		"test in a file that is gone":  {"[`TestKnown`]\n\n[`TestKnown`]: docs/c.go\n", "docs/c.go does not exist"},
		"reference without definition": {"a\n[`TestKnown`]", "page.md:2: [`TestKnown`] is not defined"},
		"definition in a block":        {"[`a`]\n\n" + fence + "go\n[`a`]: docs/b.md\n" + fence, "page.md:1: [`a`] is not defined"},
		"definition alone":             {"[`TestUnknown/a`]: docs/b.go", "docs/b.go has no TestUnknown"},
		"no test":                      {"`Testing` `t.TestUnknown` TestUnknown", ""},
		"long line":                    {long, "105 columns, more than 100"},
		"long line of Go":              {fence + "go\n" + long + "\n" + fence, "page.md:2: 105 columns"},
		"tabs count as four":           {fence + "go\n\t" + strings.Repeat("a", 97) + "\n" + fence, "101 columns"},
		"long lines that are exempt":   {"| " + long + "|\n\n[" + long + "](docs/b.md)\n\n" + fence + "sh\n# " + long + "\n" + fence + "\n\n    # " + long, ""},
		"columns are letters":          {strings.Repeat("é", 100), ""},
		"long line in a list":          {"- " + long, "107 columns"},
		"indented text in a list":      {"- a\n\n      " + long, "columns, more than 100"},
		"block after a list":           {"- a\n\nb\n\n    # " + long, ""},
		"heading with signs":           {"# What's `Lock.Do`, \"x_y\" & [z](docs/b.md)?\n\n[a](#whats-lockdo-x_y--z)", ""},
		"language":                     {fence + "perl\na\n" + fence, "page.md:2: nothing checks a block of \"perl\""},
		"command":                      {"a\n\n    go version\n    go env\n", "page.md:3: no rule for the command \"go env\""},
		"command in a fence":           {fence + "sh\ngo env\n" + fence, "page.md:2: no rule for the command \"go env\""},
		"command in a plain fence":     {fence + "\ngo env\n" + fence, "page.md:2: no rule for the command \"go env\""},
		"known commands":               {"    go version\n    # a comment\n\n" + fence + "sh\ngo version\n" + fence, ""},
		"the rest of an unclosed code": {fence + "go\n[a](docs/c.md)", ""},
	} {
		pages := map[string]*docs.Page{
			"page.md":   docs.Parse("page.md", test.text),
			"docs/b.md": docs.Parse("docs/b.md", "## C\n"),
		}
		exists := func(name string) bool {
			return name == "page.md" || name == "docs" || name == "docs/b.md" || name == "docs/b.go"
		}
		p := pages["page.md"]
		problems := docs.BrokenLinks(p, pages, exists)
		problems = append(problems, docs.LongLines(p)...)
		problems = append(problems, docs.UnknownTests(p, func(name string) bool { return name == "TestKnown" })...)
		problems = append(problems, docs.MisplacedTests(p, func(file, test string) bool {
			return file == "docs/b.go" && test == "TestKnown" || !exists(file)
		})...)
		problems = append(problems, docs.UnknownBlocks(p, func(lang string) bool { return lang == "go" || docs.IsShell(docs.Block{Lang: lang}) })...)
		problems = append(problems, docs.UnknownCommands(p, func(command string) bool { return command == "go version" })...)
		switch {
		case test.want == "" && len(problems) > 0:
			t.Errorf("%s: found %q, want nothing", name, problems)
		case test.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], test.want)):
			t.Errorf("%s: found %q, want %q", name, problems, test.want)
		}
	}
}

// A test that is named without a link is found, on a page that must have none.
func TestUnlinkedTests(t *testing.T) {
	p := docs.Parse("page.md", "[`TestA`] [`TestA/b`](c) `Testing`\n`TestA`, [a `TestB`](c)\n\n[`TestA`]: d\n")
	want := []string{"page.md:2: TestA is not a link", "page.md:2: TestB is not a link"}
	if got := docs.UnlinkedTests(p); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// The alternatives of -run and -bench are checked one by one.
func TestUnmatchedPatterns(t *testing.T) {
	names := map[string]bool{"TestA": true, "BenchmarkBC": true}
	for command, want := range map[string]int{
		"go test ./... -run '^$' -bench 'BC|B'":    0,
		"go test ./... -run '^TestA$'":             0,
		"go test ./... -run '^TestB$' -bench 'BC'": 1,
		"go test ./... -run '^$' -bench 'D|BC|E'":  2,
		"go test ./...": 0,
	} {
		if got := docs.UnmatchedPatterns(command, names); len(got) != want {
			t.Errorf("%s: %q, want %d", command, got, want)
		}
	}
}

// A page is read into blocks with their languages, lines and notes.
func TestBlocks(t *testing.T) {
	p := docs.Parse("page.md", "a\n\n    go version\n    # a comment\n    go env  # another\n\n<!-- sets: a -->\n\n"+fence+
		"go\na := 1\n"+fence+"\n\n<!-- sets: b -->\nb\n\n"+fence+"\nc\n"+fence+"\n- d\n\n      e\n")
	want := []docs.Block{
		{Line: 3, Lang: docs.Indented, Text: "go version\n# a comment\ngo env  # another\n"},
		{Line: 10, Lang: "go", Text: "a := 1\n", Note: "sets: a"},
		{Line: 17, Text: "c\n"},
	}
	if len(p.Blocks) != len(want) {
		t.Fatalf("%d blocks, want %d: %+v", len(p.Blocks), len(want), p.Blocks)
	}
	for i, b := range p.Blocks {
		if b != want[i] {
			t.Errorf("block %d is %+v, want %+v", i, b, want[i])
		}
	}
	if got := docs.Commands(p.Blocks[0]); len(got) != 2 || got[0] != "go version" || got[1] != "go env" {
		t.Errorf("commands %q", got)
	}
}

// What is compiled for a block is the block, or the block in the template.
func TestGoFile(t *testing.T) {
	for code, want := range map[string]string{
		"package main\n":                   "package main\n",
		"// A program.\npackage main\n":    "// A program.\npackage main\n",
		"a := f()\n":                       "T\n\nfunc _() {\na := f()\n_ = a\n_ = err\n}\n",
		"func f() {}\n":                    "T\n\nfunc f() {}\n",
		"// f does.\nfunc f() {}\n":        "T\n\n// f does.\nfunc f() {}\n",
		"go func() {}()\n":                 "T\n\nfunc _() {\ngo func() {}()\n_ = a\n_ = err\n}\n",
		"functions := 1 // package main\n": "T\n\nfunc _() {\nfunctions := 1 // package main\n_ = a\n_ = err\n}\n",
	} {
		if got := docs.GoFile(docs.Block{Text: code, Note: "sets: a, err"}, "T\n"); got != want {
			t.Errorf("%q becomes %q, want %q", code, got, want)
		}
	}
}
