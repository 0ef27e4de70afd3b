package docs

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"
)

// width is the longest line of prose and of Go code, in columns.
const width = 100

// LongLines returns the lines of p that are too long. Tables, commands, code of other languages and
// lines with a link may be longer, because they cannot be wrapped or must not be.
func LongLines(p *Page) (problems []string) {
	goLines := make(map[int]bool)
	for _, b := range p.Blocks {
		for i := range strings.Count(b.Text, "\n") {
			goLines[b.Line+i] = b.Lang == "go"
		}
	}
	for i, line := range p.Lines {
		n := utf8.RuneCountInString(strings.ReplaceAll(line.Text, "\t", "    "))
		exempt := line.Kind == Table || line.Kind == Code && !goLines[i+1] ||
			strings.Contains(line.Text, "](") || strings.Contains(line.Text, "://")
		if n > width && !exempt {
			problems = append(problems, fmt.Sprintf("%s:%d: %d columns, more than %d", p.Name, i+1, n, width))
		}
	}
	return problems
}

// BrokenLinks returns the relative links of p that lead nowhere: to a file that does not exist, as
// exists reports, or to an anchor that its page does not have. A link of the form [`code`] without a
// definition is broken, too.
func BrokenLinks(p *Page, pages map[string]*Page, exists func(name string) bool) (problems []string) {
	for _, l := range p.Links {
		if strings.Contains(l.Target, "://") || strings.HasPrefix(l.Target, "mailto:") {
			continue
		}
		file, anchor, hasAnchor := strings.Cut(l.Target, "#")
		name := p.Name
		if file != "" {
			name = path.Join(path.Dir(p.Name), file)
		}
		switch page := pages[name]; {
		case path.IsAbs(file) || strings.HasPrefix(name, ".."):
			problems = append(problems, fmt.Sprintf("%s:%d: %s leads out of the repository", p.Name, l.Line, l.Target))
		case !exists(name):
			problems = append(problems, fmt.Sprintf("%s:%d: %s does not exist", p.Name, l.Line, l.Target))
		case hasAnchor && (page == nil || !page.Anchors[anchor]):
			problems = append(problems, fmt.Sprintf("%s:%d: %s has no such heading", p.Name, l.Line, l.Target))
		}
	}
	for _, s := range p.Undefined {
		problems = append(problems, fmt.Sprintf("%s:%d: [`%s`] is not defined", p.Name, s.Line, s.Text))
	}
	return problems
}

// UnknownBlocks returns the blocks of p in languages that no test checks, as known reports.
func UnknownBlocks(p *Page, known func(lang string) bool) (problems []string) {
	for _, b := range p.Blocks {
		if !known(b.Lang) {
			problems = append(problems, fmt.Sprintf("%s:%d: nothing checks a block of %q", p.Name, b.Line, b.Lang))
		}
	}
	return problems
}

// UnknownCommands returns the commands of p for which there is no rule, as known reports.
func UnknownCommands(p *Page, known func(command string) bool) (problems []string) {
	for _, b := range p.Blocks {
		if !IsShell(b) {
			continue
		}
		for _, command := range Commands(b) {
			if !known(command) {
				problems = append(problems, fmt.Sprintf("%s:%d: no rule for the command %q", p.Name, b.Line, command))
			}
		}
	}
	return problems
}

// IsShell reports whether a block has commands for a shell.
func IsShell(b Block) bool { return b.Lang == Indented || b.Lang == "sh" || b.Lang == "" }

var pattern = regexp.MustCompile(` -(?:run|bench) '([^']*)'`)

// UnmatchedPatterns returns the alternatives of the flags -run and -bench of a command that match
// none of the tests and benchmarks with these names.
func UnmatchedPatterns(command string, names map[string]bool) (problems []string) {
	for _, m := range pattern.FindAllStringSubmatch(command, -1) {
		for alternative := range strings.SplitSeq(m[1], "|") {
			re, found := regexp.MustCompile(alternative), alternative == "^$"
			for name := range names {
				found = found || re.MatchString(name)
			}
			if !found {
				problems = append(problems, fmt.Sprintf("no test or benchmark matches %q in %s", alternative, command))
			}
		}
	}
	return problems
}

var testName = regexp.MustCompile(`^(Test|Benchmark|Example|Fuzz)([A-Z_]\w*)?(/|$)`)

// UnknownTests returns the tests, benchmarks and examples that p names in code spans and that do not
// exist, as known reports.
func UnknownTests(p *Page, known func(name string) bool) (problems []string) {
	for _, s := range p.Spans {
		name, _, _ := strings.Cut(s.Text, "/")
		if testName.MatchString(s.Text) && !known(name) {
			problems = append(problems, fmt.Sprintf("%s:%d: no test is named %s", p.Name, s.Line, name))
		}
	}
	return problems
}

// MisplacedTests returns the links of p whose text is a test, benchmark or example that is not in the
// file to which the link leads, as contains reports.
func MisplacedTests(p *Page, contains func(file, test string) bool) (problems []string) {
	for _, l := range p.Links {
		name, _, _ := strings.Cut(strings.Trim(l.Text, "`"), "/")
		if testName.MatchString(name) && !contains(path.Join(path.Dir(p.Name), l.Target), name) {
			problems = append(problems, fmt.Sprintf("%s:%d: %s has no %s", p.Name, l.Line, l.Target, name))
		}
	}
	return problems
}

// UnlinkedTests returns the tests, benchmarks and examples that p names without a link.
func UnlinkedTests(p *Page) (problems []string) {
	for _, s := range p.Spans {
		if testName.MatchString(s.Text) && !s.Linked {
			problems = append(problems, fmt.Sprintf("%s:%d: %s is not a link", p.Name, s.Line, s.Text))
		}
	}
	return problems
}

// complete matches a Go file, and not a fragment of one.
var complete = regexp.MustCompile(`(?m)\A(//.*\n)*package \w+$`)

// IsComplete reports whether a block of Go is a file of its own. Any other block is a fragment.
func IsComplete(code string) bool { return complete.MatchString(code) }

// GoFile returns the Go file that compiles if a block does. A complete block is compiled as it is.
//
// A fragment may use the imports and the variables of template, a Go file. Declarations are added to
// template as they are; statements are the body of a function. A comment before the block can
// name variables that the fragment sets and does not use:
//
//	<!-- sets: pool, err -->
func GoFile(b Block, template string) string {
	if IsComplete(b.Text) {
		return b.Text
	}
	var file strings.Builder
	file.WriteString(template)
	body := b.Text
	if !declares.MatchString(body) {
		body = "func _() {\n" + body
		if names, ok := strings.CutPrefix(b.Note, "sets: "); ok {
			for name := range strings.SplitSeq(names, ",") {
				body += "_ = " + strings.TrimSpace(name) + "\n"
			}
		}
		body += "}\n"
	}
	file.WriteString("\n" + body)
	return file.String()
}

var declares = regexp.MustCompile(`\A(//.*\n)*(func|type|var|const|import) `)

// Commands returns the commands of a block for a shell: its lines, without comments.
func Commands(b Block) (commands []string) {
	for line := range strings.Lines(b.Text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "#") {
			if line, _, _ = strings.Cut(line, "  # "); line != "" {
				commands = append(commands, strings.TrimSpace(line))
			}
		}
	}
	return commands
}
