package report

import (
	"math"
	"slices"
)

// Quantile returns the smallest value that is at least as large as the part q of all
// values, and NaN if there are none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(q*float64(len(s)))) - 1
	return s[min(max(i, 0), len(s)-1)]
}

// Median returns the middle value, or the mean of the two middle ones.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// Values returns the values of all rounds.
func (m Measure) Values() []float64 { return slices.Concat(m.Rounds...) }

// Range is a median with the least and the greatest of the values that it is of.
type Range struct{ Median, Least, Greatest float64 }

// Ratio compares the medians of two measures, round by round. It uses only the rounds
// in which both have values, and reports whether there are any.
func Ratio(m, base Measure) (Range, bool) {
	var ratios []float64
	for i := range min(len(m.Rounds), len(base.Rounds)) {
		if b := Median(base.Rounds[i]); b > 0 && len(m.Rounds[i]) > 0 {
			ratios = append(ratios, Median(m.Rounds[i])/b)
		}
	}
	if len(ratios) == 0 {
		return Range{}, false
	}
	return Range{Median: Median(ratios), Least: slices.Min(ratios), Greatest: slices.Max(ratios)}, true
}
