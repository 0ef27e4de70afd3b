package timeline

import (
	"bytes"
	"fmt"
	"html"
	"slices"
	"time"
)

// The picture, in pixels.
const (
	svgWidth  = 1000
	svgLeft   = 90 // of the lanes
	svgRight  = 20
	svgHead   = 90 // above the lanes and the lengths of the gaps
	svgRow    = 14 // the height of a row of lengths of gaps
	svgLane   = 54 // from one lane to the next, with a row for words above and below the bar
	svgBar    = 24 // the height of a term
	svgBottom = 70
	// svgLabel is how wide a length is. svgLetter is the same for a letter of a mark.
	svgLabel  = 48
	svgLetter = 6.5
	// svgRows is the greatest number of rows for the lengths of gaps.
	svgRows = 3
	// svgGap is the least width of a gap, so that it can be seen.
	svgGap = 4.0
	// svgTicks is about how many times the axis names.
	svgTicks = 8
)

// redisLane is the name of Redis in events.
const redisLane = "redis"

// svgColours are the colours of the lanes, for a light and for a dark background alike.
var svgColours = []string{"#2669c7", "#b35a00", "#1a7f50", "#8f46b4", "#856a00", "#bd3160", "#0c7686", "#646a36"}

const svgStyle = `<style>
svg{background:#fff;font:13px system-ui,sans-serif}text{fill:#222}.dim{fill:#666}.lane{fill:#eef0f3}.gap{fill:#d33;fill-opacity:.16;stroke:#d33;stroke-opacity:.55}
.lease{fill:none;stroke:#666;stroke-width:1.5}.gaptext{fill:#c22}.in{fill:#fff;font-weight:600}.tick{stroke:#ccc}.mark{stroke:#222;stroke-width:2}.two{fill:#d00}.down{fill:#8a1f1f;opacity:.55}
@media(prefers-color-scheme:dark){svg{background:#16181d}text{fill:#e6e6e6}.dim{fill:#9aa0a8}.lane{fill:#23262d}
.gap{fill-opacity:.3}.lease{stroke:#9aa0a8}.gaptext{fill:#ff7b72}.in{fill:#fff}.tick{stroke:#3a3f48}.mark{stroke:#eee}}
</style>
`

// SVG returns the timeline until then as a picture.
func (l *Timeline) SVG(until time.Time) []byte {
	lanes, terms, start := append(l.Lanes(), redisLane), l.Terms(until), l.start()
	if start.IsZero() {
		start = until
	}
	total := max(until.Sub(start), time.Millisecond)
	x := func(t time.Time) float64 {
		part := float64(t.Sub(start)) / float64(total)
		return svgLeft + min(max(part, 0), 1)*(svgWidth-svgLeft-svgRight)
	}
	gaps := Gaps(terms, until)
	lengths, rows := placeLengths(gaps, x)
	top := svgHead + len(rows)*svgRow
	bottom := top + len(lanes)*svgLane
	height := bottom + svgBottom
	verdict := html.EscapeString(l.Judge(until).String())
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t d">
<title id="t">Who led when</title><desc id="d">%s</desc>
`, svgWidth, height, svgWidth, height, verdict)
	b.WriteString(svgStyle)
	fmt.Fprintf(&b, `<text x="%d" y="28" font-size="18" font-weight="600">Who led when</text><text x="%d" y="50" class="dim">%s of election, from %s</text>`+"\n",
		svgRight, svgRight, short(total), start.UTC().Format("2006-01-02 15:04:05 MST"))
	l.legend(&b, float64(svgWidth-svgLeft-svgRight)/float64(total))

	for at, next := time.Duration(0), step(total); at <= total; at += next {
		tick := x(start.Add(at))
		fmt.Fprintf(&b, `<line class="tick" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="dim" text-anchor="middle" x="%.1f" y="%d">%s</text>`+"\n",
			tick, tick, top, bottom, tick, bottom+16, at)
	}
	for i, who := range lanes {
		y := top + i*svgLane + (svgLane-svgBar)/2
		fmt.Fprintf(&b, `<rect class="lane" x="%d" y="%d" width="%d" height="%d" rx="4"/><text x="%d" y="%d" font-weight="600">%s</text>`+"\n",
			svgLeft, y, svgWidth-svgLeft-svgRight, svgBar, svgRight, y+17, html.EscapeString(clip(who, 9)))
	}
	for _, o := range l.Outages(until) {
		from, to := x(o.From), x(o.To)
		y := bottom - svgLane + (svgLane-svgBar)/2
		fmt.Fprintf(&b, `<rect class="down" x="%.1f" y="%d" width="%.1f" height="%d" rx="3"><title>Redis was stopped for %s</title></rect>`+"\n",
			from, y, max(to-from, 1), svgBar, short(o.Length()))
	}
	for i, g := range gaps {
		from, to := x(g.From), x(g.To)
		middle, width := (from+to)/2, max(to-from, svgGap)
		fmt.Fprintf(&b, `<rect class="gap" x="%.1f" y="%d" width="%.1f" height="%d"><title>nobody led for %s: %s %s</title></rect>`+"\n",
			middle-width/2, top, width, bottom-top, short(g.Length()), html.EscapeString(g.Who), html.EscapeString(g.After))
		if row := lengths[i]; row >= 0 {
			fmt.Fprintf(&b, `<text class="gaptext" text-anchor="middle" x="%.1f" y="%d">%s</text>`+"\n", middle, top-5-row*svgRow, short(g.Length()))
		}
	}
	for _, t := range terms {
		lane := slices.Index(lanes, t.Who)
		y := top + lane*svgLane + (svgLane-svgBar)/2
		for _, s := range t.Spans {
			from, to := x(s.From), x(s.To)
			fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" rx="3" fill="%s"><title>%s led for %s, fence %d. %s</title></rect>`+"\n",
				from, y, max(to-from, 1), svgBar, svgColours[lane%len(svgColours)], html.EscapeString(t.Who), short(s.Length()), t.Fence, html.EscapeString(t.End))
			if to-from > svgLabel {
				fmt.Fprintf(&b, `<text class="in" text-anchor="middle" x="%.1f" y="%d">%s</text>`+"\n", (from+to)/2, y+17, short(s.Length()))
			}
		}
	}
	for _, o := range Overlaps(l.Terms(l.last(until))) {
		from, to := x(o.From), x(o.To)
		fmt.Fprintf(&b, `<rect class="two" x="%.1f" y="%d" width="%.1f" height="6"><title>%s and %s led, for %s</title></rect>`+"\n",
			from, top-2, max(to-from, 3), html.EscapeString(o.First), html.EscapeString(o.Second), short(o.Length()))
	}
	words := make([]rowsOfWords, len(lanes))
	for _, e := range l.Marks(start) {
		lane := slices.Index(lanes, e.Who)
		if lane < 0 || e.Time.After(until) {
			continue
		}
		at, y := x(e.Time), top+lane*svgLane
		fmt.Fprintf(&b, `<line class="mark" x1="%.1f" x2="%.1f" y1="%d" y2="%d"><title>%s %s</title></line>`, at, at, y+10, y+svgLane-10, html.EscapeString(e.Who), e.name())
		if e.Kind == Restored {
			continue // the end of the bar says it
		}
		if p, ok := words[lane].place(at, e.name()); ok {
			fmt.Fprintf(&b, `<text font-size="11" text-anchor="%s" x="%.1f" y="%d">%s</text>`+"\n", p.anchor, p.x, y+p.y, e.name())
		}
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n</svg>\n", svgRight, height-16, verdict)
	return b.Bytes()
}

// step returns the time between two names on the axis.
func step(total time.Duration) time.Duration {
	step := time.Second
	for _, times := range []time.Duration{2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600} {
		if total/step <= svgTicks {
			return step
		}
		step = times * time.Second
	}
	for total/step > svgTicks {
		step *= 2
	}
	return step
}

// clip returns s with at most n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}
