package timeline

import (
	"bytes"
	"fmt"
	"time"
)

// widestLease is the greatest width of the lease in the legend, in pixels.
const widestLease = 300

// legend writes what the colours mean, and how long the lease is at this scale, in pixels for each
// nanosecond.
func (l *Timeline) legend(b *bytes.Buffer, scale float64) {
	const y = 74
	fmt.Fprintf(b, `<rect class="gap" x="%d" y="%d" width="14" height="12"/><text class="dim" x="%d" y="%d">nobody leads</text>`+"\n",
		svgRight, y-11, svgRight+20, y)
	if l.Lease <= 0 {
		return
	}
	x := 140.0
	if width := float64(l.Lease) * scale; width <= widestLease {
		fmt.Fprintf(b, `<path class="lease" d="M%.1f %d v8 m0 -4 h%.1f m0 -4 v8"/>`+"\n", x, y-9, width)
		x += width + 8
	}
	fmt.Fprintf(b, `<text class="dim" x="%.1f" y="%d">the lease, %v: it counts from the last renewal, so the gap after a kill is mostly shorter</text>`+"\n",
		x, y, l.Lease.Round(time.Millisecond))
}

// A row holds what is already in a row of labels: from where to where, in pixels.
type row [][2]float64

// add adds a label unless it would overlap one, and reports whether it did.
func (r *row) add(from, to float64) bool {
	for _, other := range *r {
		if from < other[1] && other[0] < to {
			return false
		}
	}
	*r = append(*r, [2]float64{from, to})
	return true
}

// placeLengths returns for each gap in which row its length stands, and the rows. The row is -1 if
// there is no room. The gap then has its length only in its title.
func placeLengths(gaps []Gap, x func(time.Time) float64) (in []int, rows []row) {
	for _, g := range gaps {
		middle := (x(g.From) + x(g.To)) / 2
		place := -1
		for i := range svgRows {
			if i == len(rows) {
				rows = append(rows, nil)
			}
			if rows[i].add(middle-svgLabel/2, middle+svgLabel/2) {
				place = i
				break
			}
		}
		in = append(in, place)
	}
	return in, rows
}

// rowsOfWords are the row above the bar of a lane, and the row below it.
type rowsOfWords [2]row

// A spot is where a word stands.
type spot struct {
	anchor string
	x      float64
	y      int // from the top of the lane
}

// place finds room for a word beside a mark: above or below the bar, right or left of the mark.
func (r *rowsOfWords) place(at float64, word string) (spot, bool) {
	const space = 4
	width := svgLetter * float64(len(word))
	baselines := [len(r)]int{11, svgLane - 6}
	if at+space+width <= svgWidth-svgRight {
		for i := range r {
			if r[i].add(at+space, at+space+width) {
				return spot{"start", at + space, baselines[i]}, true
			}
		}
	}
	for i := range r {
		if r[i].add(at-space-width, at-space) {
			return spot{"end", at - space, baselines[i]}, true
		}
	}
	return spot{}, false
}
