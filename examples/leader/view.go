package main

import (
	"sync"
	"time"

	"example.com/setlock/examples/leader/internal/timeline"
)

const (
	// shown is how many of the last events the page shows. window is how far back its lanes go.
	shown  = 60
	window = time.Minute
)

// A view is the state of the demo at one moment, for the page and for stories. Nobody changes it. All
// times are milliseconds of the Unix epoch, and all durations are milliseconds.
type view struct {
	Now       int64         `json:"now"`
	Lease     int64         `json:"lease"`
	Remaining int64         `json:"remaining"` // of the lock's key in Redis; 0: there is no key
	Holder    string        `json:"holder"`    // who was elected last
	Leader    string        `json:"leader"`    // "" for none
	Auto      bool          `json:"auto"`
	Down      bool          `json:"down"` // Redis is stopped
	CanPause  bool          `json:"canPause"`
	CanAdd    bool          `json:"canAdd"`
	Headline  string        `json:"headline"`
	Verdict   string        `json:"verdict"`
	TwoLed    bool          `json:"twoLed"`
	Replicas  []viewReplica `json:"replicas"`
	Terms     []viewTerm    `json:"terms"`
	Gaps      []viewSpan    `json:"gaps"`
	Overlaps  []viewSpan    `json:"overlaps"`
	Outages   []viewSpan    `json:"outages"` // of Redis
	Said      []viewEvent   `json:"said"`
}

type viewReplica struct {
	ID      string `json:"id"`
	Runs    bool   `json:"runs"`
	Paused  bool   `json:"paused"`
	Cut     bool   `json:"cut"`
	Leads   bool   `json:"leads"`
	Foreign bool   `json:"foreign"` // another terminal has started it
	Pid     int    `json:"pid"`
}

type viewTerm struct {
	Who   string     `json:"who"`
	Fence int64      `json:"fence"`
	Open  bool       `json:"open"`
	End   string     `json:"end"`
	Spans []viewSpan `json:"spans"`
}

type viewSpan struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

type viewEvent struct {
	Time int64  `json:"time"`
	Who  string `json:"who"`
	Text string `json:"text"`
}

func span(s timeline.Span) viewSpan { return viewSpan{s.From.UnixMilli(), s.To.UnixMilli()} }

// view returns the state of the demo now.
func (d *demo) view() *view {
	now := time.Now().Round(0)
	since := now.Add(-window)
	all := d.line.Terms(now)
	verdict := d.line.Judge(now)
	v := &view{
		Now: now.UnixMilli(), Lease: d.lease.Milliseconds(), Remaining: d.server.TTL(d.key).Milliseconds(),
		Holder: d.last, Leader: d.leader, Auto: d.auto, Down: d.down,
		CanPause: canPause, CanAdd: len(d.ids) < mostReplicas,
		Headline: d.headline, Verdict: verdict.String(), TwoLed: verdict.Overlaps > 0,
		Replicas: []viewReplica{}, Terms: []viewTerm{}, Gaps: []viewSpan{}, Overlaps: []viewSpan{}, Outages: []viewSpan{}, Said: []viewEvent{},
	}
	if d.leader == "" {
		v.Leader = d.foreign
	}
	for _, id := range d.line.Lanes() {
		r := viewReplica{ID: id, Leads: id == v.Leader}
		if c := d.children[id]; c != nil {
			r.Runs, r.Paused, r.Cut, r.Pid = true, c.paused, c.cut, c.process.Pid
		} else {
			r.Foreign = !d.own(id)
		}
		v.Replicas = append(v.Replicas, r)
	}
	for _, t := range all {
		if !t.Open && t.To().Before(since) {
			continue
		}
		term := viewTerm{Who: t.Who, Fence: t.Fence, Open: t.Open, End: t.End}
		for _, s := range t.Spans {
			term.Spans = append(term.Spans, span(s))
		}
		v.Terms = append(v.Terms, term)
	}
	for _, g := range timeline.Gaps(all, now) {
		if g.To.After(since) {
			v.Gaps = append(v.Gaps, span(g.Span))
		}
	}
	for _, o := range timeline.Overlaps(all) {
		if o.To.After(since) {
			v.Overlaps = append(v.Overlaps, span(o.Span))
		}
	}
	for _, o := range d.line.Outages(now) {
		if o.To.After(since) {
			v.Outages = append(v.Outages, span(o))
		}
	}
	for _, e := range d.said {
		v.Said = append(v.Said, viewEvent{e.Time.UnixMilli(), e.Who, e.Text})
	}
	return v
}

// own reports whether the demo starts the replica.
func (d *demo) own(id string) bool {
	for _, own := range d.ids {
		if own == id {
			return true
		}
	}
	return false
}

// views hands the latest view to whoever watches. Nobody who watches can block the demo.
type views struct {
	mu       sync.Mutex
	watchers map[chan *view]struct{}
}

// watch returns a channel that receives the next views. A slow reader misses all but the latest. The
// caller calls the function when it reads no more.
func (v *views) watch() (<-chan *view, func()) {
	c := make(chan *view, 1)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.watchers == nil {
		v.watchers = make(map[chan *view]struct{})
	}
	v.watchers[c] = struct{}{}
	return c, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		delete(v.watchers, c)
	}
}

// show hands the view that now returns to all who watch, if anybody does.
func (v *views) show(now func() *view) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.watchers) == 0 {
		return
	}
	latest := now()
	for c := range v.watchers {
		select {
		case <-c:
		default:
		}
		c <- latest // has room: only this goroutine sends
	}
}
