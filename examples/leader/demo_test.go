package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/setlock/examples/leader/internal/timeline"
	"example.com/setlock/setlock"
)

// A run in which two led fails, and so the program does.
func TestTwoLedIsAnError(t *testing.T) {
	start := time.Now()
	after := func(d time.Duration) time.Time { return start.Add(d * time.Second) }
	var printed bytes.Buffer
	d := &demo{out: &printer{w: &printed}, until: after(10)}
	d.line.Add(timeline.Event{Time: after(0), Who: "a", Kind: timeline.Elected})
	d.line.Add(timeline.Event{Time: after(5), Who: "a", Kind: timeline.Told})
	d.line.Add(timeline.Event{Time: after(5), Who: "b", Kind: timeline.Elected})
	if err := d.result(); err != nil || !strings.Contains(printed.String(), "demo  verdict: ") {
		t.Errorf("result = %v, printed %q, want nil and a verdict", err, printed.String())
	}
	d.line.Add(timeline.Event{Time: after(6), Who: "c", Kind: timeline.Elected})
	if err := d.result(); !errors.Is(err, errTwoLed) || !strings.Contains(printed.String(), "TWO LED") {
		t.Errorf("result = %v, printed %q, want errTwoLed", err, printed.String())
	}
}

// A replica that a signal has ended is recorded as killed, also if the demo did not send the signal.
// One that has exited is not.
func TestKilledBySignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals")
	}
	for _, test := range []struct {
		command string
		byUs    bool
		killed  bool
		text    string
	}{
		{"kill -9 $$", true, true, "was killed"},
		{"kill -9 $$", false, true, "was killed, not by the demo: signal: killed"},
		{"exit 3", false, false, "has ended by itself: exit status 3"},
	} {
		cmd := exec.Command("sh", "-c", test.command)
		cmd.Run() // its error only repeats the state
		var printed bytes.Buffer
		d := &demo{out: &printer{w: &printed, json: true}, restart: time.NewTimer(time.Hour)}
		d.ended(exit{&child{id: "a", killed: test.byUs}, time.Now(), cmd.ProcessState})
		var e timeline.Event
		if err := json.NewDecoder(&printed).Decode(&e); err != nil || e.Kind != timeline.Dead || e.Killed != test.killed || e.Text != test.text {
			t.Errorf("%s: %+v (%v), want killed %v and %q", test.command, e, err, test.killed, test.text)
		}
	}
}

// With -json, the demo and its replicas print nothing but objects, and the verdict last.
func testJSON(t *testing.T, path string) {
	p := start(t, path, "-json", "-for", "3s", "-lease", "10s") // a stall must not cost the leadership
	p.end(exitOK)
	kinds := make(map[timeline.Kind]int)
	var last timeline.Event
	for _, line := range strings.Split(p.output(), "\n") {
		last = timeline.Event{}
		if err := json.Unmarshal([]byte(line), &last); err != nil || last.Time.IsZero() || last.Who == "" || last.Kind == "" {
			t.Errorf("%q is %+v (%v), want an event", line, last, err)
		}
		kinds[last.Kind]++
	}
	if kinds[timeline.Elected] != 1 || kinds[timeline.Told] != 1 || kinds[timeline.Began] != 3 || kinds[timeline.Dead] != 3 {
		t.Errorf("events %v, want one term and three processes", kinds)
	}
	if last.Kind != timeline.Judgment || last.Verdict == nil || last.Verdict.Terms != 1 || last.Verdict.Overlaps != 0 {
		t.Errorf("the last event is %+v, want the verdict on one term", last)
	}
}

// The name of a leader that another program has chosen changes nothing in a terminal, and is the same in
// the lines, the timeline and the page.
func TestNameOfAnotherLeader(t *testing.T) {
	var printed bytes.Buffer
	d := &demo{out: &printer{w: &printed}, ids: []string{}}
	name, want := "é\x1b[31m\n\u202e\xff", "é\ufffd[31m \ufffd\ufffd"
	if err := d.sees(t.Context(), setlock.Holder{Owner: name, Fence: 1, Remaining: time.Second}); err != nil {
		t.Fatal(err)
	}
	if lanes := d.line.Lanes(); !slices.Equal(lanes, []string{want}) || d.foreign != want {
		t.Errorf("lanes %q and the leader %q, want %q", lanes, d.foreign, want)
	}
	if got := printed.String(); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "demo  sees "+want+" lead\n") {
		t.Errorf("printed %q, want one line with %q", got, want)
	}
	if err := d.sees(t.Context(), setlock.Holder{}); err != nil || d.foreign != "" {
		t.Errorf("the leader is %q (%v), want none", d.foreign, err)
	}
	if terms := d.line.Terms(time.Now()); len(terms) != 1 || terms[0].Open {
		t.Errorf("terms %+v, want one that has ended", terms)
	}
}
