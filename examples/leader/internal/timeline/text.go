package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// columns is the width of the lanes in the text.
	columns = 88
	// listed is how many terms the text lists. It leaves out the terms before.
	listed = 60
	// few is how many terms make a timeline whose text fits into a window.
	few = 20
)

// Lanes returns the names of all who took part, in the order of the alphabet.
func (l *Timeline) Lanes() []string {
	var lanes []string
	for _, e := range l.events {
		switch e.Kind {
		case Began, Elected, Seen:
			if !slices.Contains(lanes, e.Who) {
				lanes = append(lanes, e.Who)
			}
		}
	}
	slices.Sort(lanes)
	return lanes
}

// start returns when the record begins.
func (l *Timeline) start() time.Time {
	if len(l.events) == 0 {
		return time.Time{}
	}
	return l.events[0].Time
}

// last returns until, or the time of the last event if that is later.
func (l *Timeline) last(until time.Time) time.Time {
	if n := len(l.events); n > 0 && l.events[n-1].Time.After(until) {
		return l.events[n-1].Time
	}
	return until
}

// Fits reports whether the text of the timeline until then fits into a window.
func (l *Timeline) Fits(until time.Time) bool { return len(l.Terms(until)) <= few }

// Text returns the timeline until then as text: a lane for each replica, and the list of its terms
// and gaps.
func (l *Timeline) Text(until time.Time) string {
	start := l.start()
	terms := l.Terms(until)
	total := until.Sub(start)
	if len(terms) == 0 || total <= 0 {
		return "nobody led\n"
	}
	var b strings.Builder
	column := func(t time.Time) int { return min(int(int64(t.Sub(start))*columns/int64(total)), columns-1) }
	width := 4
	for _, who := range l.Lanes() {
		width = max(width, len(who))
	}
	for _, who := range l.Lanes() {
		lane := []rune(strings.Repeat("·", columns))
		for _, t := range terms {
			if t.Who != who {
				continue
			}
			for c := column(t.From()); c <= column(t.To()); c++ {
				lane[c] = '░' // paused; the spans come over it
			}
			for _, s := range t.Spans {
				for c := column(s.From); c <= column(s.To); c++ {
					lane[c] = '█'
				}
			}
		}
		for _, e := range l.Marks(start) {
			if e.Who == who && e.Time.Before(until) {
				lane[column(e.Time)] = sign(e.Kind)
			}
		}
		fmt.Fprintf(&b, "%-*s |%s|\n", width, who, string(lane))
	}
	fmt.Fprintf(&b, "%-*s 0s%*s\n", width, "", columns, short(total))
	b.WriteString("█ leads  ░ paused leader  X killed or ended  P paused  > continued  / cut off  \\ back  R resigns\n\n")

	gaps := Gaps(terms, until)
	if skip := len(terms) - listed; skip > 0 {
		fmt.Fprintf(&b, "(%d terms before these are left out)\n", skip)
		terms = terms[skip:]
	}
	for i, t := range terms {
		end := t.End
		if t.Open {
			end = "still leads"
		}
		fmt.Fprintf(&b, "%8.2fs  %-*s leads for %-7s fence %d  %s\n",
			t.From().Sub(start).Seconds(), width, t.Who, short(t.To().Sub(t.From())), t.Fence, end)
		next := until
		if i+1 < len(terms) {
			next = terms[i+1].From()
		}
		for _, g := range gaps {
			if !g.From.Before(t.From()) && (g.From.Before(next) || i+1 == len(terms)) {
				fmt.Fprintf(&b, "%8.2fs  %-*s nobody for %s\n", g.From.Sub(start).Seconds(), width, "", short(g.Length()))
			}
		}
	}
	for _, o := range Overlaps(l.Terms(l.last(until))) {
		fmt.Fprintf(&b, "%8.2fs  TWO LEAD: %s and %s for %s\n", o.From.Sub(start).Seconds(), o.First, o.Second, short(o.Length()))
	}
	return b.String()
}

// sign returns the character for what was done.
func sign(k Kind) rune {
	switch k {
	case Dead:
		return 'X'
	case Paused:
		return 'P'
	case Resumed:
		return '>'
	case Cut:
		return '/'
	case Healed:
		return '\\'
	case Resigns:
		return 'R'
	}
	return '?'
}
