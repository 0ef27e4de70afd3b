package setlock

import (
	"testing"
	"time"

	"example.com/setlock/internal/protocol"
)

// When the next look is due, by what is known.
func TestNextLook(t *testing.T) {
	const l = lease(12 * time.Second)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	held := func(until time.Duration) observation {
		return observation{holder: Holder{Owner: "a", Fence: 1, Remaining: time.Second}, value: "a", until: at(until)}
	}
	forever := observation{holder: Holder{Owner: "x", Remaining: -time.Millisecond}, value: "x"}
	for _, test := range []struct {
		name string
		view view
		want time.Duration
	}{
		{"nobody, pushed", view{up: true, answered: at(0)}, 12*time.Second + expiryGrace},
		{"without expiry, pushed", view{up: true, answered: at(0), seen: forever}, 12*time.Second + expiryGrace},
		{"held for less, pushed", view{up: true, answered: at(0), seen: held(3 * time.Second)}, 3*time.Second + expiryGrace},
		{"held for more, pushed", view{up: true, answered: at(0), seen: held(time.Hour)}, 12*time.Second + expiryGrace},
		{"nobody, polled", view{answered: at(0), poll: time.Second}, time.Second},
		{"held, polled", view{answered: at(0), poll: time.Second, seen: held(time.Hour)}, time.Second},
		{"about to expire, polled", view{answered: at(0), poll: time.Second, seen: held(time.Millisecond)}, time.Millisecond + expiryGrace},
		{"broken before the look", view{answered: at(time.Second), down: at(0), poll: time.Second}, 2 * time.Second},
		{"broken after the look", view{answered: at(0), down: at(3 * time.Second), poll: time.Second}, 4 * time.Second},
		{"broken when a look is due", view{answered: at(0), down: at(12 * time.Second), poll: time.Second}, 12*time.Second + expiryGrace},
		{"failed", view{answered: at(0), up: true, retry: at(20 * time.Second), seen: held(time.Second)}, 20 * time.Second},
		{"waiting for replicas", view{up: true, answered: at(time.Second), waiting: held(time.Hour), since: at(0)}, 2 * time.Second},
		{"waiting, and about to expire", view{up: true, answered: at(0), waiting: held(time.Second), since: at(0)}, time.Second + expiryGrace},
		{"waiting, behind one that has expired", view{up: true, answered: at(0), seen: held(-time.Hour), waiting: held(time.Hour), since: at(0)}, 2 * time.Second},
	} {
		test.view.lease = l
		if got := test.view.due().Sub(start); got != test.want {
			t.Errorf("%s: due after %v, want %v", test.name, got, test.want)
		}
	}
	if v := (view{lease: l}); !v.due().IsZero() {
		t.Errorf("the first look is due at %v, want at once", v.due())
	}
}

// Nothing but a look that was answered puts the next one off.
func TestNothingPutsALookOff(t *testing.T) {
	const l = lease(10 * time.Second)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	v := view{lease: l}
	v.looked(newObservation("a", "1", time.Hour, now), missed, now, now)
	v.pushed(true, now)
	for i, event := range []func(){
		func() {
			v.told(protocol.Announcement{Acquired: true, Value: "b", Fence: 2, Previous: "1", Lease: time.Hour}, now)
		},
		func() { v.told(protocol.Announcement{Value: "c"}, now) },
		func() { v.pushed(false, now) },
		func() { v.pushed(false, now) },
		func() {
			v.told(protocol.Announcement{Acquired: true, Value: "d", Fence: 3, Previous: "2", Lease: time.Hour}, now)
		},
		func() { v.pushed(true, now); v.pushed(false, now) },
	} {
		before := v.due()
		event()
		if due := v.due(); due.After(before) {
			t.Errorf("event %d puts the look off by %v", i, due.Sub(before))
		}
		now = now.Add(time.Second / 10)
	}
}
