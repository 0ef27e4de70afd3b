package report_test

import (
	"math"
	"testing"

	"example.com/setlock/internal/compare/report"
	"example.com/setlock/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestQuantile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{nil, 0.5, math.NaN()},
		{[]float64{7}, 0, 7},
		{[]float64{7}, 1, 7},
		{[]float64{3, 1, 2}, 0, 1},
		{[]float64{3, 1, 2}, 0.99, 3},
		{hundred, 0.99, 99},
		{hundred, 0.5, 50},
		{hundred, 1, 100},
	} {
		if got := report.Quantile(c.values, c.q); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("Quantile(%v, %v) is %v, want %v", c.values, c.q, got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, math.NaN()},
		{[]float64{5}, 5},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
	} {
		if got := report.Median(c.values); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("Median(%v) is %v, want %v", c.values, got, c.want)
		}
	}
}

// TestRatio proves that a ratio is taken in each round, so that a slow round counts for
// both sides.
func TestRatio(t *testing.T) {
	m := report.Measure{Rounds: [][]float64{{2}, {20}, {6}, {1}}}
	base := report.Measure{Rounds: [][]float64{{1}, {10}, {2}}}
	got, ok := report.Ratio(m, base)
	if want := (report.Range{Median: 2, Least: 2, Greatest: 3}); !ok || got != want {
		t.Errorf("got %v, %v, want %v", got, ok, want)
	}
	if got, ok := report.Ratio(m, report.Measure{}); ok {
		t.Errorf("without a base: got %v", got)
	}
}
