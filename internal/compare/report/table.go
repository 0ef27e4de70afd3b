package report

import (
	"fmt"
	"math"
	"strings"
)

// The order of the scenarios in a report, and their titles.
var scenarios = []struct{ name, title string }{
	{HandOver, "Hand-over"},
	{Crash, "A new leader after a crash"},
	{Many, "Many locks in one process"},
	{Loss, "How a holder is told of a loss"},
	{Stopped, "A call on a Redis that is stopped"},
}

// Markdown returns all tables, and where a peer is better.
func (r *Results) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Machine())
	for _, s := range scenarios {
		if len(r.cases(s.name)) > 0 {
			fmt.Fprintf(&b, "## %s\n\n%s\n", s.title, r.Tables(s.name))
		}
	}
	fmt.Fprintf(&b, "## Where a peer is better\n\n%s", r.Better())
	return b.String()
}

// Tables returns one table for each case of a scenario.
func (r *Results) Tables(scenario string) string {
	var b strings.Builder
	for i, name := range r.cases(scenario) {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:\n\n", capital(name))
		switch scenario {
		case Many:
			r.costs(&b, scenario, name)
		case Loss:
			r.margins(&b, scenario, name)
		default:
			r.times(&b, scenario, name)
		}
	}
	return b.String()
}

// times writes a table of medians, p99 and ratios.
func (r *Results) times(b *strings.Builder, scenario, name string) {
	head(b, "peer", "values", "median, ms", "p99, ms", "median ÷ floor", "failed")
	base, _ := r.get(ID{scenario, name, Time, r.floor()})
	for _, p := range r.Peers {
		m, ok := r.get(ID{scenario, name, Time, p.Name})
		if !ok {
			continue
		}
		v := m.Values()
		row(b, p.Name, fmt.Sprint(len(v)), number(Median(v)), number(Quantile(v, 0.99)), ratio(m, base), dash(m.Never))
	}
}

// margins writes a table of the worst margin of each peer.
func (r *Results) margins(b *strings.Builder, scenario, name string) {
	cells := []string{"peer", "values", "worst, ms", "median, ms", "best, ms", "never told"}
	if expires(name) {
		cells = append(cells, "told in time")
	}
	head(b, cells...)
	for _, p := range r.Peers {
		m, ok := r.get(ID{scenario, name, Margin, p.Name})
		if !ok {
			continue
		}
		v := m.Values()
		never := dash(m.Never)
		if m.Regained > 0 {
			never = fmt.Sprintf("%d, %d of them had the key again", m.Never, m.Regained)
		}
		cells := []string{p.Name, fmt.Sprint(len(v)), number(Quantile(v, 0)), number(Median(v)), number(Quantile(v, 1)), never}
		switch {
		case !expires(name):
		case m.inTime():
			cells = append(cells, "yes")
		default:
			cells = append(cells, "**no**")
		}
		row(b, cells...)
	}
}

// expires reports whether the key lives until its expiry in a case of the scenario loss.
// Where it does not, nobody can be told in time.
func expires(name string) bool { return name != KeyDeleted && name != KeyTaken }

// inTime reports whether the holder was always told before another could hold the lock.
func (m Measure) inTime() bool {
	v := m.Values()
	return m.Never == 0 && len(v) > 0 && Quantile(v, 0) >= 0
}

// costs writes a table of what a process pays.
func (r *Results) costs(b *strings.Builder, scenario, name string) {
	metrics := []string{AcquireAll, ClientCPU, ServerCPU, Goroutines, Heap, Lost}
	head(b, append(append([]string{"peer"}, metrics...), ClientCPU+" ÷ floor")...)
	base, _ := r.get(ID{scenario, name, ClientCPU, r.floor()})
	for _, p := range r.Peers {
		m, ok := r.get(ID{scenario, name, ClientCPU, p.Name})
		if !ok {
			continue
		}
		cells := []string{p.Name}
		for _, metric := range metrics {
			c, _ := r.get(ID{scenario, name, metric, p.Name})
			cells = append(cells, number(Median(c.Values())))
		}
		row(b, append(cells, ratio(m, base))...)
	}
}

func head(b *strings.Builder, cells ...string) {
	row(b, cells...)
	b.WriteString("|" + strings.Repeat(" --- |", len(cells)) + "\n")
}

func row(b *strings.Builder, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

// number returns three digits of x, or a dash for NaN.
func number(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x):
		return "–"
	case a == math.Trunc(a) && a < 1e6:
		return fmt.Sprintf("%.0f", x)
	case a < 0.1:
		return fmt.Sprintf("%.3f", x)
	case a < 10:
		return fmt.Sprintf("%.2f", x)
	case a < 100:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.0f", x)
	}
}

// ratio returns the median ratio of the rounds, and the range if they differ.
func ratio(m, base Measure) string {
	q, ok := Ratio(m, base)
	if !ok {
		return "–"
	}
	middle, least, greatest := factor(q.Median), factor(q.Least), factor(q.Greatest)
	if least == greatest {
		return middle
	}
	return fmt.Sprintf("%s (%s to %s)", middle, least, greatest)
}

// factor returns x with two digits, or as a whole number.
func factor(x float64) string {
	if x < 10 {
		return fmt.Sprintf("%.2g", x)
	}
	return fmt.Sprintf("%.0f", x)
}

func dash(n int) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprint(n)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
