package timeline_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/setlock/examples/leader/internal/timeline"
)

var start = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// at returns the time so many milliseconds after the start.
func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// record makes a Timeline of a story such as "0 a elected; 3500 a dead". Its wake time is 200 ms.
func record(t *testing.T, story string, shuffle bool) *timeline.Timeline {
	t.Helper()
	var events []timeline.Event
	for _, s := range strings.Split(story, ";") {
		var ms int
		var e timeline.Event
		if _, err := fmt.Sscan(s, &ms, &e.Who, &e.Kind); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		e.Time, e.Text, e.Fence = at(ms), "was "+string(e.Kind), int64(ms)
		events = append(events, e)
	}
	if shuffle { // as when pipes are read late; a pause comes before what follows it
		rand.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		slices.SortStableFunc(events, func(a, b timeline.Event) int {
			return boolToInt(b.Kind == timeline.Paused) - boolToInt(a.Kind == timeline.Paused)
		})
	}
	l := &timeline.Timeline{Wake: 200 * time.Millisecond}
	for _, e := range events {
		l.Add(e)
	}
	return l
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestJudge(t *testing.T) {
	const until = 10_000
	for _, test := range []struct {
		name, story string
		want        string // terms, gaps, longest gap, overlaps, longest overlap, woke
	}{
		{"nobody", "0 a starts", "0 0 0 0 0 0"},
		{"one", "0 a starts; 100 a elected", "1 0 0 0 0 0"},
		{"killed", "0 a elected; 3500 a dead; 5400 b elected", "2 1 1900 0 0 0"},
		{"handed over", "0 a elected; 3500 a told; 3500 b elected", "2 0 0 0 0 0"},
		{"nobody since", "0 a elected; 3500 a told", "1 1 6500 0 0 0"},
		{"dead after it was told", "0 a elected; 3500 a told; 4000 b elected; 9000 a dead", "2 1 500 0 0 0"},
		{"two", "0 a elected; 4000 b elected; 4100 a told", "2 0 0 1 100 0"},
		{"two to the end", "0 a elected; 4000 b elected", "2 0 0 1 6000 0"},
		{"three", "0 a elected; 4000 b elected; 5000 c elected; 5500 b told; 6000 a told", "3 0 0 3 1500 0"},
		{"one within the other", "0 a elected; 4000 b elected; 4100 b told; 4200 c elected; 4250 c told", "3 0 0 2 100 0"},
		{"twice the same", "0 a elected; 4000 a told; 4001 a elected", "2 1 1 0 0 0"},
		{"a gap behind a short second", "0 a elected; 1000 b elected; 2000 b told; 5000 a told; 6000 c elected", "3 1 1000 1 1000 0"},

		{"paused, learns at once", "0 a elected; 3000 a paused; 5000 b elected; 6000 a resumed; 6010 a told", "2 1 2000 0 0 10"},
		{"paused, learns late", "0 a elected; 3000 a paused; 5000 b elected; 6000 a resumed; 6300 a told", "2 1 2000 1 300 0"},
		{"paused, writes", "0 a elected; 3000 a paused; 5000 b elected; 6000 a resumed; 6005 a counts; 6010 a told", "2 1 2000 1 10 0"},
		{"paused, had written before", "0 a elected; 2900 a counts; 3000 a paused; 5000 b elected; 6000 a resumed; 6010 a told", "2 1 2000 0 0 10"},
		{"paused, still leads", "0 a elected; 3000 a paused; 3500 a resumed; 4000 a counts", "1 1 500 0 0 0"},
		{"paused, killed", "0 a elected; 3000 a paused; 4000 a dead; 5000 b elected", "2 1 2000 0 0 0"},
		{"paused, continued, killed", "0 a elected; 3000 a paused; 5000 b elected; 6000 a resumed; 6001 a dead", "2 1 2000 0 0 1"},
		{"paused twice", "0 a elected; 1000 a paused; 1500 a resumed; 1600 a paused; 3000 b elected; 4000 a resumed; 4001 a told", "2 1 2000 0 0 100"},
		{"paused to the end", "0 a elected; 3000 a paused", "1 1 7000 0 0 0"},
		{"a follower is paused", "0 a elected; 3000 b paused; 5000 b resumed", "1 0 0 0 0 0"},

		{"a stranger fills a gap", "0 a elected; 3000 a dead; 5000 x seen; 8000 x unseen; 8100 b elected", "3 2 2000 0 0 0"},
		{"a stranger is seen late", "0 a elected; 3000 a told; 3001 x seen; 5000 b elected; 5001 x unseen", "3 1 1 0 0 0"},
	} {
		for range 5 {
			v := record(t, test.story, true).Judge(at(until))
			got := fmt.Sprint(v.Terms, v.Gaps, v.LongestGap, v.Overlaps, v.Longest, v.Woke)
			if got != test.want {
				t.Errorf("%s: %s, want %s (terms, gaps, longest, overlaps, longest, woke)", test.name, got, test.want)
			}
		}
	}
}

// An overlap while the replicas end counts, too. The end itself is no gap.
func TestJudgeWhileItEnds(t *testing.T) {
	l := record(t, "0 a elected; 1000 a told; 1000 b elected; 1050 a elected; 1100 b told; 1200 a told; 5000 a dead", false)
	if v := l.Judge(at(1000)); v.Overlaps != 1 || v.Longest != 50 || v.Gaps != 0 {
		t.Errorf("Judge = %+v, want an overlap of 50 ms and no gap", v)
	}
}

func TestVerdictInWords(t *testing.T) {
	for story, want := range map[string]string{
		"0 a starts": "nobody led",
		"0 a starts; 0 b starts; 0 c starts; 0 a elected; 4000 a told; 4000 b elected": "2 terms; 2 of 3 replicas led; no gap; two never led",
		"0 a elected; 3500 a dead; 5400 b elected":                                     "2 terms; 2 of 2 replicas led; longest gap 1.90s: a was dead; two never led",
		"0 a elected":              "1 term; 1 of 1 replica led; no gap; two never led",
		"0 a elected; 3500 a dead": "1 term; 1 of 1 replica led; nobody has led for the last 6.50s, which is the longest gap: a was dead; two never led",
		"0 a elected; 4000 b elected; 4100 a told; 5000 a refused":                                                "2 terms; 2 of 2 replicas led; no gap; 1 write of an old leader refused; TWO LED, 1 time: a and b for 100ms",
		"0 a elected; 3000 a paused; 5000 b elected; 6000 a resumed; 6010 a told; 7000 a refused; 7001 a refused": "2 terms; 2 of 2 replicas led; longest gap 2.00s: a was paused; a leader that was paused knew within 10ms that it was none; 2 writes of an old leader refused; two never led",
	} {
		if got := record(t, story, false).Judge(at(10_000)).String(); got != want {
			t.Errorf("%s:\n got %s\nwant %s", story, got, want)
		}
	}
}

func TestText(t *testing.T) {
	l := record(t, "0 a starts; 0 b starts; 0 a elected; 5000 a dead; 7500 b elected; 9000 redis stopped", false)
	got := l.Text(at(10_000))
	lane := func(parts ...string) string { return strings.Join(parts, "") }
	for _, want := range []string{
		"a    |" + lane(strings.Repeat("█", 44), "X", strings.Repeat("·", 43)) + "|\n",
		"b    |" + lane(strings.Repeat("·", 66), strings.Repeat("█", 22)) + "|\n",
		"    0.00s  a    leads for 5.00s   fence 0  was dead\n    5.00s       nobody for 2.50s\n    7.50s  b    leads for 2.50s   fence 7500  still leads\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("Text has no\n%s\nin\n%s", want, got)
		}
	}
	if got := new(timeline.Timeline).Text(at(0)); got != "nobody led\n" {
		t.Errorf("the text of nothing is %q", got)
	}
	two := record(t, "0 a elected; 4000 b elected; 4100 a told", false).Text(at(10_000))
	if want := "TWO LEAD: a and b for 100ms\n"; !strings.Contains(two, want) {
		t.Errorf("Text has no %q in\n%s", want, two)
	}
	var many strings.Builder
	for i := range 100 {
		fmt.Fprintf(&many, "%d a elected; %d a told;", 100*i, 100*i+50)
	}
	if long := record(t, strings.TrimSuffix(many.String(), ";"), false).Text(at(10_000)); !strings.Contains(long, "(40 terms before these are left out)") {
		t.Errorf("Text lists all of 100 terms:\n%s", long)
	}
	if !l.Fits(at(10_000)) || record(t, strings.TrimSuffix(many.String(), ";"), false).Fits(at(10_000)) {
		t.Error("Fits is wrong: a text of two terms fits, and a text of 100 does not")
	}
}
