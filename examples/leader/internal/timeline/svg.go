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
	svgTop    = 84
	svgLane   = 40 // from one lane to the next
	svgBar    = 24 // the height of a term
	svgBottom = 70
	// svgLabel is how wide something must be to have its length written into it.
	svgLabel = 48
	// svgTicks is about how many times the axis names.
	svgTicks = 8
)

// redisLane is the name of Redis in events.
const redisLane = "redis"

// svgColours are the colours of the lanes, for a light and for a dark background alike.
var svgColours = []string{"#2669c7", "#b35a00", "#1a7f50", "#8f46b4", "#856a00", "#bd3160", "#0c7686", "#646a36"}

const svgStyle = `<style>
svg{background:#fff;font:13px system-ui,sans-serif}text{fill:#222}.dim{fill:#666}.lane{fill:#eef0f3}.gap{fill:#d33;opacity:.13}
.gaptext{fill:#c22}.in{fill:#fff;font-weight:600}.tick{stroke:#ccc}.mark{stroke:#222;stroke-width:2}.two{fill:#d00}.down{fill:#8a1f1f;opacity:.55}
@media(prefers-color-scheme:dark){svg{background:#16181d}text{fill:#e6e6e6}.dim{fill:#9aa0a8}.lane{fill:#23262d}
.gap{opacity:.25}.gaptext{fill:#ff7b72}.in{fill:#fff}.tick{stroke:#3a3f48}.mark{stroke:#eee}}
</style>
`

// SVG returns the timeline until then as a picture.
func (l *Timeline) SVG(until time.Time) []byte {
	lanes, terms, start := append(l.Lanes(), redisLane), l.Terms(until), l.start()
	if start.IsZero() {
		start = until
	}
	total := max(until.Sub(start), time.Millisecond)
	height := svgTop + len(lanes)*svgLane + svgBottom
	x := func(t time.Time) float64 {
		part := float64(t.Sub(start)) / float64(total)
		return svgLeft + min(max(part, 0), 1)*(svgWidth-svgLeft-svgRight)
	}
	verdict := html.EscapeString(l.Judge(until).String())
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t d">
<title id="t">Who led when</title><desc id="d">%s</desc>
`, svgWidth, height, svgWidth, height, verdict)
	b.WriteString(svgStyle)
	fmt.Fprintf(&b, `<text x="%d" y="28" font-size="18" font-weight="600">Who led when</text><text x="%d" y="50" class="dim">%s of election, from %s</text>`+"\n",
		svgRight, svgRight, short(total), start.UTC().Format("2006-01-02 15:04:05 MST"))

	bottom := svgTop + len(lanes)*svgLane
	for at, next := time.Duration(0), step(total); at <= total; at += next {
		tick := x(start.Add(at))
		fmt.Fprintf(&b, `<line class="tick" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="dim" text-anchor="middle" x="%.1f" y="%d">%s</text>`+"\n",
			tick, tick, svgTop, bottom, tick, bottom+16, at)
	}
	for i, who := range lanes {
		y := svgTop + i*svgLane + (svgLane-svgBar)/2
		fmt.Fprintf(&b, `<rect class="lane" x="%d" y="%d" width="%d" height="%d" rx="4"/><text x="%d" y="%d" font-weight="600">%s</text>`+"\n",
			svgLeft, y, svgWidth-svgLeft-svgRight, svgBar, svgRight, y+17, html.EscapeString(clip(who, 9)))
	}
	for _, o := range l.Outages(until) {
		from, to := x(o.From), x(o.To)
		y := bottom - svgLane + (svgLane-svgBar)/2
		fmt.Fprintf(&b, `<rect class="down" x="%.1f" y="%d" width="%.1f" height="%d" rx="3"><title>Redis was stopped for %s</title></rect>`+"\n",
			from, y, max(to-from, 1), svgBar, short(o.Length()))
	}
	for _, g := range Gaps(terms, until) {
		from, to := x(g.From), x(g.To)
		fmt.Fprintf(&b, `<rect class="gap" x="%.1f" y="%d" width="%.1f" height="%d"><title>nobody led for %s: %s %s</title></rect>`+"\n",
			from, svgTop, max(to-from, 1), bottom-svgTop, short(g.Length()), html.EscapeString(g.Who), html.EscapeString(g.After))
		if to-from > svgLabel {
			fmt.Fprintf(&b, `<text class="gaptext" text-anchor="middle" x="%.1f" y="%d">%s</text>`+"\n", (from+to)/2, svgTop-5, short(g.Length()))
		}
	}
	for _, t := range terms {
		lane := slices.Index(lanes, t.Who)
		y := svgTop + lane*svgLane + (svgLane-svgBar)/2
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
			from, svgTop-2, max(to-from, 3), html.EscapeString(o.First), html.EscapeString(o.Second), short(o.Length()))
	}
	for _, e := range l.Marks(start) {
		lane := slices.Index(lanes, e.Who)
		if lane < 0 || e.Time.After(until) {
			continue
		}
		at, y := x(e.Time), svgTop+lane*svgLane
		fmt.Fprintf(&b, `<line class="mark" x1="%.1f" x2="%.1f" y1="%d" y2="%d"><title>%s %s</title></line>`, at, at, y+4, y+svgLane-4, html.EscapeString(e.Who), e.Kind.name())
		if e.Kind == Restored {
			continue // the end of the bar says it
		}
		anchor, gap := "start", 4.0
		if at > svgWidth-svgRight-svgLabel {
			anchor, gap = "end", -4
		}
		fmt.Fprintf(&b, `<text font-size="11" text-anchor="%s" x="%.1f" y="%d">%s</text>`+"\n", anchor, at+gap, y+8, e.Kind.name())
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
