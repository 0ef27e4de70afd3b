// Package report turns the measures of the comparison into tables, sentences and a
// picture. It measures nothing.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
)

// Results are all that one run has measured.
type Results struct {
	Date     string // of the run, as 2006-01-02
	Command  string // that made the run
	CPU      string // model
	Cores    int
	System   string
	Go       string
	Redis    string
	Rounds   int
	Peers    []Peer // in the order of the tables
	Measures []Measure

	mu sync.Mutex
}

// Peer is what the tables tell of a peer.
type Peer struct {
	Name    string
	Version string // empty: of this project
	Waits   string // how a waiter learns that the lock is free
	Tells   string // who ends the holder's work when the lock is lost
	Floor   bool   // the least that a lock on Redis must do
	Ours    bool   // of this project
}

// ID names a measure.
type ID struct {
	Scenario string
	Case     string
	Metric   string // with its unit
	Peer     string
}

// Measure is what was measured of one peer in one case.
type Measure struct {
	ID
	Rounds   [][]float64 // the values of each round
	Never    int         // trials in which what was awaited did not come in time
	Regained int         // such trials in which the holder had its key again
}

// Add adds values of a round, counted from 0. It may be called by several goroutines.
func (r *Results) Add(id ID, round int, values ...float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.find(id)
	for len(m.Rounds) <= round {
		m.Rounds = append(m.Rounds, nil)
	}
	m.Rounds[round] = append(m.Rounds[round], values...)
}

// Expect makes a measure without values, which fixes its place in the tables.
func (r *Results) Expect(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.find(id)
}

// AddNever adds a trial in which what was awaited did not come in time.
func (r *Results) AddNever(id ID, regained bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.find(id)
	m.Never++
	if regained {
		m.Regained++
	}
}

// find returns the measure, new if there is none. It is called with mu held.
func (r *Results) find(id ID) *Measure {
	i := slices.IndexFunc(r.Measures, func(m Measure) bool { return m.ID == id })
	if i < 0 {
		i = len(r.Measures)
		r.Measures = append(r.Measures, Measure{ID: id})
	}
	return &r.Measures[i]
}

// get returns a measure, and whether it exists.
func (r *Results) get(id ID) (Measure, bool) {
	i := slices.IndexFunc(r.Measures, func(m Measure) bool { return m.ID == id })
	if i < 0 {
		return Measure{}, false
	}
	return r.Measures[i], true
}

// cases returns the cases of a scenario in the order in which they were measured.
func (r *Results) cases(scenario string) []string {
	var cases []string
	for _, m := range r.Measures {
		if m.Scenario == scenario && !slices.Contains(cases, m.Case) {
			cases = append(cases, m.Case)
		}
	}
	return cases
}

// floor returns the name of the floor, or "".
func (r *Results) floor() string {
	for _, p := range r.Peers {
		if p.Floor {
			return p.Name
		}
	}
	return ""
}

// Encode returns the results as JSON, with one measure a line.
func (r *Results) Encode() ([]byte, error) {
	head := struct {
		*Results
		Measures any `json:",omitempty"` // hides those of Results
	}{Results: r}
	data, err := json.MarshalIndent(head, "", "  ")
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Write(bytes.TrimSuffix(data, []byte("\n}")))
	b.WriteString(",\n  \"Measures\": [")
	for i, m := range r.Measures {
		line, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n    ")
		b.Write(line)
	}
	b.WriteString("\n  ]\n}\n")
	return b.Bytes(), nil
}

// Decode reads what Encode returned.
func Decode(data []byte) (*Results, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	r := new(Results)
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return r, nil
}

// Read reads a file of results.
func Read(path string) (*Results, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
