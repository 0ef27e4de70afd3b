// Package docs reads the Markdown files of this module, so that tests can check them: that links
// and anchors resolve, that Go code compiles, that commands run, and that the tests exist that a
// page names. Only tests import it.
package docs

import (
	"regexp"
	"strings"
	"unicode"
)

// A Page is one Markdown file.
type Page struct {
	Name      string // its path from the root of the module, with slashes
	Lines     []Line
	Blocks    []Block
	Links     []Link
	Spans     []Span
	Undefined []Span          // references without a definition
	Anchors   map[string]bool // the anchors of its headings

	defined map[string]bool // the texts of its definitions
}

// A Line is one line of a Page.
type Line struct {
	Text string
	Kind Kind
}

// A Kind says what a Line is part of.
type Kind int

// The kinds of lines.
const (
	Prose Kind = iota
	Table
	Definition // of a reference
	Code       // a fenced or an indented block, with its fences
)

// Indented is the Lang of a block that is indented by four spaces. It has commands for a shell.
const Indented = "indented"

// A Block is a block of code.
type Block struct {
	Line int    // of its first line of code, from 1
	Lang string // what follows the fence, or Indented
	Text string // without fences and indentation; ends with a newline
	Note string // the text of an HTML comment on the last line before the block; "" for none
}

// A Link is a link, an image, or the definition of a reference.
type Link struct {
	Line   int
	Text   string
	Target string
}

// A Span is a piece of code in a sentence.
type Span struct {
	Line   int
	Text   string
	Linked bool // the span is the text of a link
}

var (
	heading    = regexp.MustCompile(`^#{1,6} +(.*)$`)
	comment    = regexp.MustCompile(`^<!-- *(.*?) *-->$`)
	listItem   = regexp.MustCompile(`^ *([-*+]|[0-9]+\.) `)
	span       = regexp.MustCompile("`[^`]+`")
	link       = regexp.MustCompile(`\[([^\[\]]*)\]\(([^()\s]+)\)`)
	definition = regexp.MustCompile("^\\[(`[^`]+`)\\]: (\\S+)$")
)

// Parse reads a page. It knows what the pages of this module use of Markdown: headings with #,
// fenced and indented blocks, tables, lists, comments of one line, code spans, and links of the
// forms [text](target) and [`code`]. The target of the second form is in a line of its own, the
// definition [`code`]: target.
func Parse(name, text string) *Page {
	p := &Page{Name: name, Anchors: make(map[string]bool), defined: make(map[string]bool)}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	note, inList := "", false
	for i := 0; i < len(lines); {
		line := lines[i]
		switch {
		case strings.HasPrefix(line, "```"):
			b := Block{Line: i + 2, Lang: strings.TrimSpace(line[3:]), Note: note}
			p.add(line, Code)
			for i++; i < len(lines) && !strings.HasPrefix(lines[i], "```"); i++ {
				p.add(lines[i], Code)
				b.Text += lines[i] + "\n"
			}
			if i < len(lines) {
				p.add(lines[i], Code)
				i++
			}
			p.Blocks = append(p.Blocks, b)
		case strings.HasPrefix(line, "    ") && !inList && (i == 0 || lines[i-1] == ""):
			b := Block{Line: i + 1, Lang: Indented, Note: note}
			for ; i < len(lines) && strings.HasPrefix(lines[i], "    "); i++ {
				p.add(lines[i], Code)
				b.Text += lines[i][4:] + "\n"
			}
			p.Blocks = append(p.Blocks, b)
		default:
			kind := Prose
			if strings.HasPrefix(line, "|") {
				kind = Table
			}
			if m := definition.FindStringSubmatch(line); m != nil {
				kind = Definition
				p.Links = append(p.Links, Link{i + 1, m[1], m[2]})
				p.defined[m[1]] = true
			}
			p.add(line, kind)
			i++
		}
		if line == "" {
			continue
		}
		note = ""
		if m := comment.FindStringSubmatch(line); m != nil {
			note = m[1]
		}
		inList = listItem.MatchString(line) || inList && strings.HasPrefix(line, " ")
	}
	p.findHeadings()
	p.findInline()
	return p
}

func (p *Page) add(text string, kind Kind) { p.Lines = append(p.Lines, Line{text, kind}) }

// findHeadings finds the anchors. A heading that has the anchor of an earlier one gets a number.
func (p *Page) findHeadings() {
	for _, line := range p.Lines {
		m := heading.FindStringSubmatch(line.Text)
		if line.Kind != Prose || m == nil {
			continue
		}
		slug := Slug(m[1])
		for n := 1; p.Anchors[slug]; n++ {
			slug = Slug(m[1]) + "-" + string(rune('0'+n))
		}
		p.Anchors[slug] = true
	}
}

// Slug returns the anchor of a heading, as GitHub makes it.
func Slug(heading string) string {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
}

// findInline finds the links and the code spans of each paragraph. Both may be wrapped.
func (p *Page) findInline() {
	for first := 0; first < len(p.Lines); {
		end := first
		for end < len(p.Lines) && p.Lines[end].Kind == Prose && p.Lines[end].Text != "" {
			end++
		}
		if end == first {
			end++ // a row of a table, which is a paragraph of its own, a definition, a line of code, or nothing
		}
		var text strings.Builder
		for _, line := range p.Lines[first:end] {
			if line.Kind == Prose || line.Kind == Table {
				text.WriteString(line.Text)
			}
			text.WriteByte('\n')
		}
		p.inline(text.String(), first+1)
		first = end
	}
}

func (p *Page) inline(text string, first int) {
	at := func(offset int) int { return first + strings.Count(text[:offset], "\n") }
	for _, m := range span.FindAllStringIndex(text, -1) {
		before, after := text[:m[0]], text[m[1]:]
		s := Span{at(m[0]), text[m[0]+1 : m[1]-1], strings.HasSuffix(before, "[") && strings.HasPrefix(after, "]")}
		p.Spans = append(p.Spans, s)
		if s.Linked && !strings.HasPrefix(after, "](") && !p.defined[text[m[0]:m[1]]] {
			p.Undefined = append(p.Undefined, s)
		}
	}
	// A code span has no links. Dots of the same length keep the offsets.
	plain := span.ReplaceAllStringFunc(text, func(s string) string {
		return regexp.MustCompile(`[^\n]`).ReplaceAllString(s, ".")
	})
	for len(plain) == len(text) {
		m := link.FindStringSubmatchIndex(plain)
		if m == nil {
			return
		}
		p.Links = append(p.Links, Link{at(m[0]), text[m[2]:m[3]], plain[m[4]:m[5]]})
		// What was a link is text now, so that an image may be the text of a link.
		plain = plain[:m[0]] + strings.NewReplacer("[", ".", "]", ".", "(", ".", ")", ".").Replace(plain[m[0]:m[1]]) + plain[m[1]:]
	}
}
