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
		{"failed", view{answered: at(0), up: true, retry: at(2 * time.Second)}, 2 * time.Second},
		{"failed, without expiry", view{answered: at(0), up: true, retry: at(2 * time.Second), seen: forever}, 2 * time.Second},
		{"failed, held for more", view{answered: at(0), up: true, retry: at(2 * time.Second), seen: held(3 * time.Second)}, 2 * time.Second},
		{"failed, held for less", view{answered: at(0), up: true, retry: at(2 * time.Second), seen: held(time.Second)}, time.Second + expiryGrace},
		{"failed lately, held for less", view{answered: at(0), up: true, failing: at(time.Second), retry: at(2 * time.Second), seen: held(time.Second)}, time.Second + 600*time.Millisecond + expiryGrace},
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

// Looks that fail report nobody, once, when the holder's remaining time has run out and they have
// failed for a twentieth of the lease.
func TestFailedLook(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const l = lease(12 * time.Second)
	v := view{lease: l}
	fails := func(sent, after, left time.Duration, want bool) {
		t.Helper()
		at := now.Add(after)
		if got := v.failed(now.Add(sent), at, time.Second, left); got != want || v.seen.holder.Nobody() != (want || v.seen.value == "") {
			t.Errorf("a look that fails after %v reports nobody %v, want %v: %+v", after, got, want, v.seen)
		}
		if due := v.due(); !due.After(at) {
			t.Errorf("the next look is due %v before the last", at.Sub(due))
		}
	}
	looks := func(remaining time.Duration) {
		v.looked(newObservation("a", "7", remaining, now), scheduled, now, now)
	}
	fails(0, 0, 0, false) // nothing is known
	looks(10 * time.Second)
	fails(time.Second, time.Second, 0, false)
	fails(8*time.Second, 10*time.Second-1, 0, false)
	fails(11*time.Second, 11*time.Second, 5*time.Second, false) // our own Do, whose renewals succeed
	fails(15*time.Second, 16*time.Second-1, 0, false)
	fails(15*time.Second, 16*time.Second, 0, true)
	fails(20*time.Second, 20*time.Second, 0, false)
	if v.seen.fence != "7" {
		t.Errorf("the fence is %q, want 7 still", v.seen.fence)
	}
	looks(10 * time.Second)
	fails(10*time.Second, 10*time.Second, 0, false) // the first that fails
	fails(10500*time.Millisecond, 10600*time.Millisecond-1, 0, false)
	fails(10500*time.Millisecond, 10600*time.Millisecond, 0, true)
	looks(10 * time.Second)
	fails(9500*time.Millisecond, 11500*time.Millisecond, 0, true) // the first, which has taken long
	looks(-time.Millisecond)                                      // without expiry
	fails(time.Hour, 2*time.Hour, 0, false)
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
