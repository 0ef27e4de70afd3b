// Package timeline records who led when, and judges it: how long nobody led, and whether two led at
// the same time.
//
// # What is measured
//
// A term lasts from the call of OnElected until the context of OnElected has ended, or until the
// process was dead. The replica itself takes both times. It takes the second one after the context
// has ended, so a term is never recorded too short. A process that was killed is dead when its
// parent has waited for it.
//
// A process that is stopped by SIGSTOP believes nothing and does nothing, so it does not lead. When
// it continues, its context should end at once if its trust has ended meanwhile. It leads again,
// from the moment it was continued, if one of its writes was sent later and accepted, or if its
// context did not end within the wake time. Otherwise its term ended when it was stopped. A write
// that its fencing token refuses is no leading. It is counted on its own.
//
// All times are read from the wall clock of one machine. A step of this clock falsifies the result.
// So does a process that the machine does not run for a while: this process seems to lead too long.
// A replica that reports nothing, because another terminal has started it, is only seen from
// outside. Its terms fill gaps, but they are not compared with others.
package timeline

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A Timeline is what has happened. The zero Timeline is empty. It is not safe for concurrent use.
type Timeline struct {
	// Wake is the time within which a process that continues must know that its term is over.
	Wake time.Duration
	// Lease is the lease of the lock, for the picture; 0: not known.
	Lease time.Duration

	events  []Event // in the order of their times; without the words
	refused int
	paused  map[string]bool // who has ever been paused
}

// A Term is one leadership.
type Term struct {
	Who   string
	Fence int64
	Spans []Span        // when the replica led, in order; there is a pause between two spans
	Open  bool          // the term has not ended
	Seen  bool          // the replica reports nothing, so others have seen the term
	End   string        // why the term ended, in words
	Woke  time.Duration // how long the replica still believed when it continued; 0: it was told while it ran
}

// From returns when the term began.
func (t Term) From() time.Time { return t.Spans[0].From }

// To returns when the term ended, or the present end of an open term.
func (t Term) To() time.Time { return t.Spans[len(t.Spans)-1].To }

// A Span is a time.
type Span struct{ From, To time.Time }

// Length returns how long s is.
func (s Span) Length() time.Duration { return s.To.Sub(s.From) }

// Add records e. Events of different processes may be added in another order than they happened.
func (l *Timeline) Add(e Event) {
	switch e.Kind {
	case Refused:
		l.refused++
		return
	case Counts: // matters only to a process that was paused, and there are many
		if !l.paused[e.Who] {
			return
		}
	case Paused:
		if l.paused == nil {
			l.paused = make(map[string]bool)
		}
		l.paused[e.Who] = true
	case Elected, Told, Seen, Unseen, Dead, Began:
	default:
		if !e.Kind.done() {
			return
		}
	}
	e.Verdict = nil
	at := len(l.events)
	for at > 0 && e.Time.Before(l.events[at-1].Time) {
		at--
	}
	l.events = slices.Insert(l.events, at, e)
}

// Marks returns what somebody did, and the ends of processes, since then.
func (l *Timeline) Marks(since time.Time) []Event {
	var marks []Event
	for _, e := range l.events {
		if e.Kind.done() && !e.Time.Before(since) {
			marks = append(marks, e)
		}
	}
	return marks
}

// Outages returns the times in which Redis was stopped, until then.
func (l *Timeline) Outages(until time.Time) []Span {
	var outages []Span
	down := false
	for _, e := range l.events {
		switch {
		case e.Kind == Stopped && !down:
			outages, down = append(outages, Span{e.Time, until}), true
		case e.Kind == Restored && down:
			outages[len(outages)-1].To, down = e.Time, false
		}
	}
	return outages
}

// Terms returns the terms until then, in the order in which they began. Of an open term, the last
// span ends then.
func (l *Timeline) Terms(until time.Time) []Term {
	open := make(map[string]*draft)
	var drafts []*draft
	closes := func(e Event, why string) {
		if d := open[e.Who]; d != nil {
			d.to, d.end = e.Time, why
			delete(open, e.Who)
		}
	}
	for _, e := range l.events {
		if e.Time.After(until) {
			break
		}
		d := open[e.Who]
		switch e.Kind {
		case Elected, Seen:
			closes(e, "")
			d = &draft{who: e.Who, fence: e.Fence, from: e.Time, seen: e.Kind == Seen}
			open[e.Who] = d
			drafts = append(drafts, d)
		case Told, Unseen, Dead:
			closes(e, e.Text)
		case Paused:
			if d != nil {
				d.pauses = append(d.pauses, pause{from: e.Time})
			}
		case Resumed:
			if d != nil && len(d.pauses) > 0 {
				d.pauses[len(d.pauses)-1].to = e.Time
			}
		case Counts:
			if d != nil && len(d.pauses) > 0 {
				d.pauses[len(d.pauses)-1].acted = true // else it is of the time before the pause
			}
		}
	}
	terms := make([]Term, 0, len(drafts))
	for _, d := range drafts {
		terms = append(terms, d.term(until, l.Wake))
	}
	slices.SortStableFunc(terms, func(a, b Term) int { return a.From().Compare(b.From()) })
	return terms
}

// wasPaused is what ended a span before a pause, in words.
const wasPaused = "was paused"

// A draft is a term of which not all is known.
type draft struct {
	who      string
	fence    int64
	from, to time.Time // to is zero while the term is open
	seen     bool
	end      string
	pauses   []pause
}

type pause struct {
	from, to time.Time // to is zero while it lasts
	acted    bool      // a write was sent after to, and accepted
}

// term makes the spans of d, by the rules in the package documentation.
func (d *draft) term(until time.Time, wake time.Duration) Term {
	t := Term{Who: d.who, Fence: d.fence, Seen: d.seen, End: d.end, Open: d.to.IsZero()}
	end := d.to
	if t.Open {
		end = until
	}
	from := d.from
	for i, p := range d.pauses {
		if from.Before(p.from) || len(t.Spans) == 0 {
			t.Spans = append(t.Spans, Span{from, p.from})
		}
		if p.to.IsZero() {
			if !t.Open {
				t.End = wasPaused + ", and " + t.End
			}
			return t
		}
		next := end
		if i+1 < len(d.pauses) {
			next = d.pauses[i+1].from
		}
		if awake := next.Sub(p.to); !p.acted && awake <= wake {
			t.Woke = max(t.Woke, awake)
			from = next
			continue
		}
		from = p.to
	}
	if from.Before(end) || len(t.Spans) == 0 {
		t.Spans = append(t.Spans, Span{from, end})
	} else if len(d.pauses) > 0 && !t.Open {
		t.End = wasPaused + ", and " + t.End
	}
	return t
}

// spans returns what led when, in the order of time.
func spans(terms []Term) []owned {
	var all []owned
	for _, t := range terms {
		for i, s := range t.Spans {
			o := owned{Span: s, Who: t.Who, Seen: t.Seen, After: wasPaused}
			if i == len(t.Spans)-1 && !t.Open && !strings.HasPrefix(t.End, wasPaused) {
				o.After = t.End
			}
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b owned) int { return cmp.Or(a.From.Compare(b.From), a.To.Compare(b.To)) })
	return all
}

// An owned span says who led.
type owned struct {
	Span
	Who   string
	Seen  bool
	After string // what ended it
}
