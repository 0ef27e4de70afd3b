package report

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// The sizes of the picture, in px.
const (
	width     = 760
	labels    = 175 // of the names
	numbers   = 120 // of the values
	barHeight = 14
	rowHeight = 20
	padding   = 20
)

// style has colours of its own, also for the background, because the page around a
// picture may be dark while the reader's system is light.
const style = `
.page { fill: #ffffff; stroke: #d0d7de }
text { fill: #1f2328; font: 13px system-ui, sans-serif }
.head { font-weight: 600 }
.note { fill: #59636e; font-size: 12px }
.peer { fill: #8c959f }
.floor { fill: #d0d7de }
.ours { fill: #1a7f37 }
.late { fill: #cf222e }
.axis { stroke: #59636e }
@media (prefers-color-scheme: dark) {
.page { fill: #0d1117; stroke: #3d444d }
text { fill: #f0f6fc }
.note { fill: #9198a1 }
.peer { fill: #656c76 }
.floor { fill: #3d444d }
.ours { fill: #3fb950 }
.late { fill: #f85149 }
.axis { stroke: #9198a1 }
}
`

// A panel is one set of bars.
type panel struct {
	title, note string
	bars        []bar
	log         bool // of the scale, which then begins at least
	least       float64
}

// A bar is the figure of one peer.
type bar struct {
	peer  Peer
	value float64
	label string
	late  bool // a holder was told too late, or never
}

// SVG returns a picture of the results.
func (r *Results) SVG() []byte {
	panels := r.panels()
	var body strings.Builder
	y := padding
	for _, p := range panels {
		y = p.draw(&body, y)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc">`+"\n", width, y, width, y)
	b.WriteString("<title id=\"title\">This project beside its peers</title>\n")
	fmt.Fprintf(&b, "<desc id=\"desc\">%s</desc>\n", escape(describe(panels)))
	fmt.Fprintf(&b, "<style>%s</style>\n", style)
	fmt.Fprintf(&b, `<rect class="page" x="0.5" y="0.5" width="%d" height="%d" rx="6"/>`+"\n", width-1, y-1)
	b.WriteString(body.String())
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// draw draws the panel at y and returns where the next begins.
func (p panel) draw(b *strings.Builder, y int) int {
	fmt.Fprintf(b, `<text class="head" x="%d" y="%d">%s</text>`+"\n", padding, y+13, escape(p.title))
	fmt.Fprintf(b, `<text class="note" x="%d" y="%d">%s</text>`+"\n", padding, y+30, escape(p.note))
	y += 40
	left, right := p.reach()
	span := float64(width - 2*padding - labels - numbers)
	zero := float64(padding+labels) + span*left/(left+right)
	for _, r := range p.bars {
		length := span * p.length(r.value) / (left + right)
		x := zero + min(length, 0)
		class := "peer"
		switch {
		case r.late:
			class = "late"
		case r.peer.Floor:
			class = "floor"
		case r.peer.Ours:
			class = "ours"
		}
		fmt.Fprintf(b, `<g><title>%s: %s</title>`, escape(r.peer.Name), escape(r.label))
		fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`, padding, y+12, escape(r.peer.Name))
		fmt.Fprintf(b, `<rect class="%s" x="%.1f" y="%d" width="%.1f" height="%d" rx="2"/>`, class, x, y, math.Abs(length), barHeight)
		fmt.Fprintf(b, `<text class="note" x="%.1f" y="%d">%s</text></g>`+"\n", max(zero+length, zero)+6, y+12, escape(r.label))
		y += rowHeight
	}
	fmt.Fprintf(b, `<line class="axis" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`+"\n", zero, y-len(p.bars)*rowHeight-2, zero, y-4)
	return y + padding
}

// length returns how long a bar is, in the units of the panel.
func (p panel) length(value float64) float64 {
	if !p.log {
		return value
	}
	return math.Log10(max(value, p.least) / p.least)
}

// reach returns the longest bars to the left and to the right.
func (p panel) reach() (left, right float64) {
	for _, r := range p.bars {
		l := p.length(r.value)
		left, right = max(left, -l), max(right, l)
	}
	if left+right == 0 {
		right = 1
	}
	return left, right
}

// describe returns the content of the panels in words.
func describe(panels []panel) string {
	var parts []string
	for _, p := range panels {
		var bars []string
		for _, r := range p.bars {
			bars = append(bars, r.peer.Name+" "+r.label)
		}
		parts = append(parts, p.title+": "+strings.Join(bars, ", ")+".")
	}
	return strings.Join(parts, " ")
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a strings.Builder returns no error
	return b.String()
}
