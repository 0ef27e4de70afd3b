package report

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A peer is better only if it is clearly so in every round.
const (
	clearly = 0.9 // of our figure, where less is better
	noise   = 0.2 // what may be noise in percents of a core, and in figures for each lock
)

// Better lists where peers are better than ours, the peer that stands for this project,
// in every round. The floor is no peer.
func (r *Results) Better() string {
	ours, ok := r.ours()
	if !ok {
		return "This project was not measured.\n"
	}
	var b strings.Builder
	for _, s := range scenarios {
		for _, name := range r.cases(s.name) {
			for _, c := range comparisons {
				our, _ := r.get(ID{s.name, name, c.metric, ours})
				if better := r.betterThan(our, c); better != "" {
					b.WriteString(item(fmt.Sprintf("%s, %s, %s: %s, against %s of %s.",
						s.title, name, c.words, better, number(c.figure(our.Values())), ours)))
				}
			}
		}
	}
	if b.Len() == 0 {
		return fmt.Sprintf("In these results, no peer is clearly better than %s in every round.\n", ours)
	}
	return b.String()
}

// item returns text as an item of a list in Markdown, in lines of at most 100 columns.
func item(text string) string {
	var b strings.Builder
	line := "-"
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > 100 {
			b.WriteString(line + "\n")
			line = " "
		}
		line += " " + word
	}
	return b.String() + line + "\n"
}

// betterThan returns the peers that are better than ours in every round, with their
// figures.
func (r *Results) betterThan(our Measure, c comparison) string {
	var better []string
	for _, p := range r.Peers {
		if p.Floor || p.Ours {
			continue
		}
		m, _ := r.get(ID{our.Scenario, our.Case, c.metric, p.Name})
		if m.Never > our.Never || len(m.Rounds) == 0 || len(m.Rounds) != len(our.Rounds) {
			continue
		}
		always := true
		for i := range m.Rounds {
			always = always && len(m.Rounds[i]) > 0 && c.better(c.figure(m.Rounds[i]), c.figure(our.Rounds[i]))
		}
		if always {
			better = append(better, p.Name+" "+number(c.figure(m.Values())))
		}
	}
	return strings.Join(better, ", ")
}

// A comparison tells which of two figures is better.
type comparison struct {
	metric string
	words  string // names the figure
	figure func(values []float64) float64
	better func(peer, ours float64) bool
}

var comparisons = []comparison{
	{Time, "median in ms", Median, func(peer, ours float64) bool { return peer < clearly*ours }},
	{AcquireAll, AcquireAll, Median, less(0)},
	{ClientCPU, ClientCPU, Median, less(noise)},
	{ServerCPU, ServerCPU, Median, less(noise)},
	{Goroutines, Goroutines, Median, less(noise)},
	{Heap, Heap, Median, less(noise)},
	{Lost, Lost, Median, less(noise)},
	{Margin, "worst margin in ms", worstOf, func(peer, ours float64) bool {
		return peer-ours > (1-clearly)*math.Abs(ours)
	}},
}

func less(noise float64) func(peer, ours float64) bool {
	return func(peer, ours float64) bool { return peer < clearly*ours && ours-peer > noise }
}

func worstOf(values []float64) float64 { return Quantile(values, 0) }

// ours returns the last peer of this project: the election.
func (r *Results) ours() (string, bool) {
	for _, p := range slices.Backward(r.Peers) {
		if p.Ours {
			return p.Name, true
		}
	}
	return "", false
}
