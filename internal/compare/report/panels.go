package report

import (
	"fmt"
	"math"
)

// panels returns what the picture shows of the results.
func (r *Results) panels() []panel {
	var panels []panel
	for _, name := range r.cases(HandOver) {
		panels = append(panels, r.medians(HandOver, name, "Hand-over, "+name,
			"ms from the start of a release until the next holds the lock; median, logarithmic"))
	}
	for _, name := range r.cases(Crash) {
		panels = append(panels, r.medians(Crash, name, "A new leader after a crash, "+name,
			"ms from the expiry of the dead leader's key; median, logarithmic"))
	}
	for _, name := range r.cases(Many) {
		panels = append(panels, r.cpu(name))
	}
	if p := r.worst(); len(p.bars) > 0 {
		panels = append(panels, p)
	}
	return panels
}

// medians returns a panel of medians of times.
func (r *Results) medians(scenario, name, title, note string) panel {
	p := panel{title: title, note: note, log: true, least: 0.1}
	for _, q := range r.Peers {
		m, ok := r.get(ID{scenario, name, Time, q.Name})
		if v := m.Values(); ok && len(v) > 0 {
			median := Median(v)
			p.bars = append(p.bars, bar{peer: q, value: median, label: number(median) + " ms"})
		}
	}
	return p
}

// cpu returns a panel of what a process with many locks uses.
func (r *Results) cpu(name string) panel {
	p := panel{title: "One process holds " + name, note: "CPU of this process, in % of one core; median"}
	for _, q := range r.Peers {
		m, ok := r.get(ID{Many, name, ClientCPU, q.Name})
		if v := m.Values(); ok && len(v) > 0 {
			median := Median(v)
			p.bars = append(p.bars, bar{peer: q, value: median, label: number(median) + " %"})
		}
	}
	return p
}

// worst returns a panel of the worst margins of the faults under which a key lives until
// its expiry. A holder that was never told gets the longest bar.
func (r *Results) worst() panel {
	p := panel{
		title: "How long before the expiry of its key a holder is told to stop, at worst",
		note:  "ms, while the server is stopped or the holder is cut off; red: another could hold the lock at the same time",
	}
	longest := 0.0
	var never []int // bars
	for _, q := range r.Peers {
		worst, told, measured := math.Inf(1), true, false
		for _, name := range r.cases(Loss) {
			m, ok := r.get(ID{Loss, name, Margin, q.Name})
			if !ok || !expires(name) {
				continue
			}
			measured = true
			told = told && m.Never == 0
			for _, v := range m.Values() {
				worst = min(worst, v)
			}
		}
		switch {
		case !measured:
			continue
		case !told:
			never = append(never, len(p.bars))
			p.bars = append(p.bars, bar{peer: q, label: "never told", late: true})
			continue
		case math.IsInf(worst, 1):
			continue
		}
		longest = min(longest, worst)
		p.bars = append(p.bars, bar{peer: q, value: worst, label: fmt.Sprintf("%s ms", number(worst)), late: worst < 0})
	}
	for _, i := range never {
		p.bars[i].value = longest * 1.1
	}
	return p
}
