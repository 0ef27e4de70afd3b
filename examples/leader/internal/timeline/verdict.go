package timeline

import (
	"fmt"
	"strings"
	"time"
)

// A Gap is a time in which nobody led, between two leaders or since the last one.
type Gap struct {
	Span
	Who   string // who led before
	After string // what ended it, in words
	Open  bool   // nobody leads yet
}

// An Overlap is a time in which two led.
type Overlap struct {
	Span
	First, Second string
}

// Gaps returns the times in which nobody led. The time before the first leader is no gap.
func Gaps(terms []Term, until time.Time) []Gap {
	var gaps []Gap
	var last owned
	for i, s := range spans(terms) {
		if i > 0 && s.From.After(last.To) {
			gaps = append(gaps, Gap{Span: Span{last.To, s.From}, Who: last.Who, After: last.After})
		}
		if i == 0 || s.To.After(last.To) {
			last = s
		}
	}
	if !last.To.IsZero() && until.After(last.To) {
		gaps = append(gaps, Gap{Span: Span{last.To, until}, Who: last.Who, After: last.After, Open: true})
	}
	return gaps
}

// Overlaps returns the times in which two replicas led.
func Overlaps(terms []Term) []Overlap {
	var found []Overlap
	all := spans(terms)
	for i, s := range all {
		for _, next := range all[i+1:] {
			if !next.From.Before(s.To) {
				break // and all others begin later still
			}
			if next.Who != s.Who && !next.Seen && !s.Seen {
				to := s.To
				if next.To.Before(to) {
					to = next.To
				}
				if next.From.Before(to) {
					found = append(found, Overlap{Span{next.From, to}, s.Who, next.Who})
				}
			}
		}
	}
	return found
}

// A Verdict says how a run was.
type Verdict struct {
	Terms      int     `json:"terms"`
	Leaders    int     `json:"leaders"`             // replicas that led
	Replicas   int     `json:"replicas"`            // that took part
	Gaps       int     `json:"gaps"`                // times in which nobody led
	LongestGap float64 `json:"longest_gap_ms"`      //
	GapAfter   string  `json:"gap_after,omitempty"` // what ended the term before the longest gap
	Overlaps   int     `json:"overlaps"`            // times in which two led
	Longest    float64 `json:"longest_overlap_ms"`  // of them
	Refused    int     `json:"refused_writes"`      // of old leaders, by their fence
	Woke       float64 `json:"woke_ms"`             // the longest time in which a leader that continued did not know that it was none
	words      string
}

// Judge judges the run until then. Only overlaps may also be later, while the replicas end.
func (l *Timeline) Judge(until time.Time) Verdict {
	terms := l.Terms(until)
	v := Verdict{Terms: len(terms), Replicas: len(l.Lanes()), Refused: l.refused}
	leaders := make(map[string]bool)
	var woke time.Duration
	for _, t := range terms {
		leaders[t.Who] = true
		woke = max(woke, t.Woke)
	}
	v.Leaders, v.Woke = len(leaders), milliseconds(woke)
	var gap Gap
	for _, g := range Gaps(terms, until) {
		v.Gaps++
		if g.Length() > gap.Length() {
			gap = g
		}
	}
	if v.Gaps > 0 {
		v.LongestGap, v.GapAfter = milliseconds(gap.Length()), strings.TrimSpace(gap.Who+" "+gap.After)
	}
	var overlap Overlap
	for _, o := range Overlaps(l.Terms(l.last(until))) {
		v.Overlaps++
		if o.Length() > overlap.Length() {
			overlap = o
		}
	}
	v.Longest = milliseconds(overlap.Length())
	v.words = words(v, gap, overlap, woke)
	return v
}

// String says the verdict in one line.
func (v Verdict) String() string { return v.words }

func words(v Verdict, gap Gap, overlap Overlap, woke time.Duration) string {
	if v.Terms == 0 {
		return "nobody led"
	}
	parts := []string{many(v.Terms, "term"), fmt.Sprintf("%d of %s led", v.Leaders, many(v.Replicas, "replica"))}
	switch {
	case v.Gaps == 0:
		parts = append(parts, "no gap")
	case gap.Open:
		parts = append(parts, fmt.Sprintf("nobody has led for the last %s, which is the longest gap: %s", short(gap.Length()), v.GapAfter))
	default:
		parts = append(parts, fmt.Sprintf("longest gap %s: %s", short(gap.Length()), v.GapAfter))
	}
	if woke > 0 {
		parts = append(parts, fmt.Sprintf("a leader that was paused knew within %s that it was none", short(woke)))
	}
	if v.Refused > 0 {
		parts = append(parts, many(v.Refused, "write")+" of an old leader refused")
	}
	if v.Overlaps == 0 {
		parts = append(parts, "two never led")
	} else {
		parts = append(parts, fmt.Sprintf("TWO LED, %s: %s and %s for %s", many(v.Overlaps, "time"), overlap.First, overlap.Second, short(overlap.Length())))
	}
	return strings.Join(parts, "; ")
}

func many(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// short returns d with two or three digits that matter.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Round(time.Millisecond).Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}
