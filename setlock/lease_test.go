package setlock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// The tables of what is pure and not exported, and an order that no schedule
// brings about at will; everything else is tested from outside.

func TestLeaseAddsUp(t *testing.T) {
	for _, l := range []lease{lease(MinLease), lease(time.Second), lease(DefaultLease), lease(time.Hour)} {
		// A renewal that fails at once, or only when its time is up, is tried again
		// while there is trust: after an outage of a third.
		outage := time.Duration(l / 3)
		longest := l.renewInterval() + l.renewTimeout() // the first try, into silence
		for longest < l.renewInterval()+outage {
			longest += time.Duration(l/20) + l.renewTimeout()
		}
		now := time.Now()
		trusted := trust{sent: now, ttl: time.Duration(l)}.left(now)
		if left := trusted - longest; left <= 0 {
			t.Errorf("lease %v: an outage of %v leaves %v of the trust", time.Duration(l), outage, left)
		}
		if trusted+time.Duration(l/10) > time.Duration(l) {
			t.Errorf("lease %v: less than a tenth lies between trust and expiry", time.Duration(l))
		}
		for what, d := range map[string]time.Duration{
			"retryInterval": l.retryInterval(), "pollInterval": l.pollInterval(),
			"confirmTimeout": l.confirmTimeout(), "glance": l.glance(), "ahead": l.ahead(), "drift": l.drift(),
		} {
			if d <= 0 || d > l.renewTimeout() {
				t.Errorf("lease %v: %s is %v", time.Duration(l), what, d)
			}
		}
		if 2*l.releaseTimeout() > time.Duration(l/6) {
			t.Errorf("lease %v: a release takes %v", time.Duration(l), 2*l.releaseTimeout())
		}
	}
}

func TestTrust(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	w := trust{ttl: 10 * time.Second, sent: start}
	for now, want := range map[time.Duration]time.Duration{
		0:               9 * time.Second,
		5 * time.Second: 4 * time.Second,
		9 * time.Second: 0,
		time.Minute:     -51 * time.Second,
	} {
		if got := w.left(at(now)); got != want {
			t.Errorf("left after %v = %v, want %v", now, got, want)
		}
	}
	for _, test := range []struct {
		name      string
		sent, now time.Duration
		counts    bool
		left      time.Duration
	}{
		{"prompt", 3 * time.Second, 3 * time.Second, true, 9 * time.Second},
		{"trusted from its request", 3 * time.Second, 5 * time.Second, true, 7 * time.Second},
		{"after its own trust", 3 * time.Second, 12 * time.Second, false, -3 * time.Second},
		{"older than what counts", -time.Second, time.Second, true, 8 * time.Second},
	} {
		got, counts := w.renewed(at(test.sent), at(test.now))
		if counts != test.counts || got.left(at(test.now)) != test.left {
			t.Errorf("%s: counts %v with %v left, want %v with %v", test.name, counts, got.left(at(test.now)), test.counts, test.left)
		}
	}
}

func TestOrphans(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var o orphans
	for i := range maxOrphans {
		o = o.add(orphan{value: fmt.Sprint(i), until: start.Add(time.Duration(maxOrphans-i) * time.Minute)})
	}
	has := func(value string) bool {
		return slices.ContainsFunc(o, func(x orphan) bool { return x.value == value })
	}
	if got := len(o.values()); got != maxOrphans {
		t.Errorf("%d values, want all", got)
	}
	o = o.add(orphan{value: "long", until: start.Add(time.Hour)})
	if len(o) != maxOrphans || has(fmt.Sprint(maxOrphans-1)) || !has("0") || !has("long") {
		t.Errorf("%d orphans after one more, want %d, without the one that expires first", len(o), maxOrphans)
	}
	o = o.expire(start.Add(time.Duration(maxOrphans-3)*time.Minute + 1))
	if len(o) != 3 || !has("0") || !has("1") || !has("2") {
		t.Errorf("%d orphans are left, want 3", len(o))
	}
	if o = o.expire(start.Add(2 * time.Hour)); len(o) != 0 {
		t.Errorf("%d orphans are left whose keys have expired", len(o))
	}
}

// What a plain hold is believed, call by call.
func TestBelief(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	const s = time.Second
	held := acquiring(start, 100*s)
	unlocked := held
	unlocked.unlocks++
	for _, test := range []struct {
		name            string
		b               belief
		now, left, ends time.Duration
	}{
		{"acquired", held, 0, 90 * s, 160 * s},
		{"a while later", held, 30 * s, 60 * s, 160 * s},
		{"a tenth before the key expires", held, 90 * s, 0, 160 * s},
		{"while it is shortened", held.renewing(at(10*s), 10*s), 10 * s, 9 * s, 160 * s},
		{"while it is renewed for longer", held.renewing(at(10*s), 200*s), 10 * s, 80 * s, 270 * s},
		{"renewed", held.renewing(at(10*s), 200*s).set(at(11*s), at(10*s), 200*s), 11 * s, 179 * s, 270 * s},
		{"while it is extended", held.extending(100 * s), 10 * s, 80 * s, 260 * s},
		{"extended", held.extending(100*s).set(at(11*s), at(10*s), 190*s), 11 * s, 170 * s, 260 * s},
		{"a Renew may arrive late", held.renewing(at(0), 10*s).mayRenewLate(at(s), 10*s).set(at(2*s), at(2*s), 200*s), 2 * s, 9 * s, 160 * s},
		{"it cannot any more", held.renewing(at(0), 10*s).mayRenewLate(at(s), 10*s).set(at(62*s), at(62*s), 200*s), 62 * s, 180 * s, 160 * s},
		{"the shorter of two counts", held.mayRenewLate(at(0), 10*s).mayRenewLate(at(s), 20*s).set(at(s), at(s), 200*s), s, 9 * s, 160 * s},
		{"released, perhaps", unlocked, 0, 0, 160 * s},
	} {
		if got := test.b.left(at(test.now)); got != test.left {
			t.Errorf("%s: believed for %v more, want %v", test.name, got, test.left)
		}
		if got := test.b.ends.Sub(start); got != test.ends {
			t.Errorf("%s: the key may exist until %v, want %v", test.name, got, test.ends)
		}
	}
}

// Another goroutine that notes the loss may not have cancelled the context yet, when a
// caller who is about to release the key finds the session lost.
func TestLossEndsTheContextOfASessionThatIsLost(t *testing.T) {
	l := &Lock{Key: "k", Pool: new(redis.Pool)}
	s := newSession(t.Context(), l.remote(), &l.holds)
	defer s.cancel(nil)
	s.lost = &lostError{keys: s.remote.keys, reason: errTaken}
	s.lose(errReleased)
	if cause := context.Cause(s.ctx); !errors.Is(cause, errTaken) {
		t.Errorf("the context ended with %v, want why it was lost first", cause)
	}
}

// When the next renewal is due, and where, after what happened.
func TestSchedule(t *testing.T) {
	const l = lease(60 * time.Second)
	const interval = 20 * time.Second
	fresh := schedule{lease: l}
	steady := schedule{lease: l, steady: true}
	failing, retry := steady.failed()
	if !failing.outside || retry <= 0 || retry > 3*time.Second {
		t.Errorf("after a failure: %+v in %v, want one outside the Pool within a twentieth of the lease", failing, retry)
	}
	again, _ := failing.failed()
	if again.outside {
		t.Errorf("after two failures: %+v, want one of the Pool", again)
	}
	for _, test := range []struct {
		name     string
		s        schedule
		took     time.Duration
		extra    bool
		min, max time.Duration
	}{
		{"the first", fresh, 0, false, 0, interval},
		{"the first, and slow", fresh, 8 * time.Second, false, 0, 12 * time.Second},
		{"every other", steady, 0, false, interval, interval},
		{"every other, and slow", steady, 8 * time.Second, false, 12 * time.Second, 12 * time.Second},
		{"slower than the interval", steady, 25 * time.Second, false, 0, 0},
		{"after a failure", failing, 0, false, 0, interval},
		{"an extra one in place of one that was due", steady, 0, true, 0, interval},
	} {
		seen := map[time.Duration]bool{}
		for range 50 {
			next, pause := test.s.counted(test.took, test.extra)
			if pause < test.min || pause > test.max || next != steady {
				t.Fatalf("%s: %+v in %v, want %v to %v", test.name, next, pause, test.min, test.max)
			}
			seen[pause] = true
		}
		if spread := len(seen) > 10; spread != (test.min < test.max) {
			t.Errorf("%s: %d different pauses of 50", test.name, len(seen))
		}
	}
}
