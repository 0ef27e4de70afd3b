package setlock

import (
	"testing"
	"time"
)

// What a connection for announcements is taken for.
func TestPulse(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	const later = lineQuiet - linePatience + time.Second
	for _, test := range []struct {
		name  string
		pulse pulse
		now   time.Duration
		state int
		wait  time.Duration
	}{
		{"quiet", pulse{heard: at(0)}, time.Second, lineFine, lineQuiet - time.Second},
		{"quiet for long", pulse{heard: at(0)}, lineQuiet, lineIdle, 0},
		{"asked", pulse{heard: at(0), asked: at(time.Minute)}, time.Minute, lineFine, linePatience},
		{"asked, no answer", pulse{heard: at(0), asked: at(time.Second)}, time.Second + linePatience, lineDead, 0},
		{"asked, something else came", pulse{heard: at(3 * time.Second), asked: at(0)}, linePatience, lineFine, 3 * time.Second},
		{"untold", pulse{heard: at(0), untold: at(0)}, time.Second, lineFine, linePatience - time.Second},
		{"untold for long", pulse{heard: at(0), untold: at(0)}, linePatience, lineMute, 0},
		{"untold for long, no answer", pulse{heard: at(0), untold: at(0), asked: at(0)}, linePatience, lineDead, 0},
		{"untold for long, asked again", pulse{heard: at(0), untold: at(0), asked: at(3 * time.Second)}, linePatience, lineFine, 3 * time.Second},
		{"untold, and quiet for long", pulse{heard: at(0), untold: at(later)}, later, lineFine, linePatience - time.Second},
	} {
		state, wait := test.pulse.check(at(test.now))
		if state != test.state || wait != test.wait {
			t.Errorf("%s: %d for %v, want %d for %v", test.name, state, wait, test.state, test.wait)
		}
	}
}
