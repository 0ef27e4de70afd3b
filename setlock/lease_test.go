package setlock

import (
	"context"
	"errors"
	"fmt"
	"math"
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
		longest := l.renewEvery() + l.attempt() // the first try, into silence
		for longest < l.renewEvery()+outage {
			longest += time.Duration(l/20) + l.attempt()
		}
		if left := l.trust() - longest; left <= 0 {
			t.Errorf("lease %v: an outage of %v leaves %v of the trust", time.Duration(l), outage, left)
		}
		if l.trust()+time.Duration(l/10) > time.Duration(l) {
			t.Errorf("lease %v: less than a tenth lies between trust and expiry", time.Duration(l))
		}
		for what, d := range map[string]time.Duration{"retry": l.retry(), "poll": l.poll(), "wait": l.wait(), "glance": l.glance()} {
			if d <= 0 || d > l.attempt() {
				t.Errorf("lease %v: %s is %v", time.Duration(l), what, d)
			}
		}
		if 2*l.release() > time.Duration(l/6) {
			t.Errorf("lease %v: a release takes %v", time.Duration(l), 2*l.release())
		}
	}
}

func TestWindow(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	w := window{trust: 9 * time.Second, sent: start}
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
		o = o.add(orphan{value: fmt.Sprint(i), until: start.Add(time.Duration(maxOrphans-i) * time.Minute), running: i == 7})
	}
	has := func(value string) bool {
		return slices.ContainsFunc(o, func(x orphan) bool { return x.value == value })
	}
	if got := len(o.values()); got != maxOrphans-1 {
		t.Errorf("%d values, want all but the one whose call runs", got)
	}
	o = o.add(orphan{value: "long", until: start.Add(time.Hour)})
	if len(o) != maxOrphans || has(fmt.Sprint(maxOrphans-1)) || !has("0") || !has("long") {
		t.Errorf("%d orphans after one more, want %d, without the one that expires first", len(o), maxOrphans)
	}
	o = o.expire(start.Add(time.Duration(maxOrphans-3)*time.Minute + 1))
	if len(o) != 4 || !has("7") { // 0, 1, 2 and the one whose call runs
		t.Errorf("%d orphans are left, want 4", len(o))
	}
	o.returned("7")
	if o = o.expire(start.Add(2 * time.Hour)); len(o) != 0 {
		t.Errorf("%d orphans are left whose keys have expired", len(o))
	}
}

// What a plain hold is believed, call by call.
func TestBelief(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	const s = time.Second
	held := acquired(start, 100*s)
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
		{"a Renew may arrive late", held.renewing(at(0), 10*s).renewedLate(at(s), 10*s).set(at(2*s), at(2*s), 200*s), 2 * s, 9 * s, 160 * s},
		{"it cannot any more", held.renewing(at(0), 10*s).renewedLate(at(s), 10*s).set(at(62*s), at(62*s), 200*s), 62 * s, 180 * s, 160 * s},
		{"the shorter of two counts", held.renewedLate(at(0), 10*s).renewedLate(at(s), 20*s).set(at(s), at(s), 200*s), s, 9 * s, 160 * s},
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

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]int64{
		math.MinInt64: 1, -1: 1, 0: 1, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2,
		time.Second: 1000, math.MaxInt64: math.MaxInt64/1_000_000 + 1,
	} {
		if got := milliseconds(d); got != want {
			t.Errorf("milliseconds(%d) = %d, want %d", d, got, want)
		}
	}
}

func TestRemainingTime(t *testing.T) {
	for pttl, want := range map[int64]time.Duration{
		-1: -time.Millisecond, 0: time.Millisecond, 1: time.Millisecond, 1500: 1500 * time.Millisecond, -2: time.Millisecond,
		math.MaxInt64: math.MaxInt64 / time.Millisecond * time.Millisecond, math.MinInt64: time.Millisecond,
	} {
		if got := remainingTime(pttl); got != want {
			t.Errorf("remainingTime(%d) = %v, want %v", pttl, got, want)
		}
	}
}

// Whatever stands in Redis, or comes from it: no panic, and a clear error or a
// foreign holder.

func FuzzHolder(f *testing.F) {
	f.Add(int64(1000), "17", "ABCDEFGHIJKLMNOPQRSTUVWXYZ:owner")
	f.Add(int64(-1), "", "")
	f.Add(int64(-2), "x", "foreign")
	f.Add(int64(math.MaxInt64), "-5", "a:b:c")
	f.Fuzz(func(t *testing.T, pttl int64, fence, value string) {
		now := time.Now()
		s, err := holderReply([]any{pttl, []byte(fence), []byte(value)}, now)
		if err != nil {
			t.Fatalf("an error for what the script may return: %v", err)
		}
		if s.holder.Nobody() != (pttl == pttlNoKey) {
			t.Errorf("Nobody = %v with a PTTL of %d", s.holder.Nobody(), pttl)
		}
		if s.holder.Fence < 0 || !s.holder.Nobody() && s.holder.Remaining == 0 {
			t.Errorf("%+v", s.holder)
		}
		if owner, ours := ownerOf(value); !ours && (owner != value || s.holder.Fence != 0) {
			t.Errorf("a foreign %q became %+v", value, s.holder)
		}
		if _, err := holderReply([]any{fence, pttl, value}, now); err == nil {
			t.Error("no error for a reply of other types")
		}
	})
}

func FuzzAnnouncement(f *testing.F) {
	f.Add("acquired 12 1000 11 ABCDEFGHIJKLMNOPQRSTUVWXYZ:owner", "11", "v")
	f.Add("released ABCDEFGHIJKLMNOPQRSTUVWXYZ:owner", "", "ABCDEFGHIJKLMNOPQRSTUVWXYZ:owner")
	f.Add("acquired   x", "", "")
	f.Fuzz(func(t *testing.T, message, fence, value string) {
		a, ok := parseAnnouncement(message)
		if !ok {
			return
		}
		want := "released " + a.value
		if a.acquired {
			if a.fence <= 0 || a.lease <= 0 {
				t.Errorf("%q became %+v", message, a)
			}
		} else if message != want {
			t.Errorf("%q became %+v", message, a)
		}
		now := time.Now()
		s := newSighting(value, fence, time.Second, now)
		if next, follows := s.follows(a, now); follows && !next.holder.Nobody() && next.value != a.value {
			t.Errorf("%+v follows from %+v and %q", next, s, message)
		}
	})
}

func FuzzAcquireReply(f *testing.F) {
	f.Add(int64(1), int64(2), int64(1), "x", 0)
	f.Fuzz(func(t *testing.T, a, b, c int64, s string, shape int) {
		replies := []any{nil, a, []byte(s), s, []any{}, []any{a}, []any{a, []byte(s)}, []any{[]byte(s), b}, []any{a, b, b, b}, []any{a, b, []byte(s)}, redis.Error(s)}
		if _, err := acquireReply(replies[uint(shape)%uint(len(replies))]); err == nil {
			t.Error("no error for a reply that the script does not give")
		}
		got, err := acquireReply([]any{a, b})
		if valid := a == replyMine || a == replyOther; valid != (err == nil) || valid && got != (acquisition{outcome: a, left: remainingTime(b)}) {
			t.Errorf("{%d, %d} became %+v, %v", a, b, got, err)
		}
		got, err = acquireReply([]any{a, b, c})
		if valid := a == replyAcquired; valid != (err == nil) || valid && got != (acquisition{outcome: a, fence: b, previous: c}) {
			t.Errorf("{%d, %d, %d} became %+v, %v", a, b, c, got, err)
		}
		if n, err := notMineOr(a, replyReleased); (err == nil) != (a == 0 || a == 1) || err == nil && n != a {
			t.Errorf("%d became %d, %v", a, n, err)
		}
		if _, err := intReply(s); err == nil {
			t.Error("no error for a string")
		}
		if n, err := intReply(a); n != a || err != nil {
			t.Errorf("%d became %d, %v", a, n, err)
		}
	})
}

func TestOwnerOf(t *testing.T) {
	for value, want := range map[string]struct {
		owner string
		ours  bool
	}{
		newValue("host:1"):              {"host:1", true},
		newValue(""):                    {"", true},
		"":                              {"", false},
		"host:1":                        {"host:1", false},
		"abcdefghijklmnopqrstuvwxyz:x":  {"abcdefghijklmnopqrstuvwxyz:x", false},
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ2:x": {"ABCDEFGHIJKLMNOPQRSTUVWXYZ2:x", false},
	} {
		if owner, ours := ownerOf(value); owner != want.owner || ours != want.ours {
			t.Errorf("ownerOf(%q) = %q, %v, want %q, %v", value, owner, ours, want.owner, want.ours)
		}
	}
}

func TestParseFence(t *testing.T) {
	for s, want := range map[string]int64{
		"": 0, "0": 0, "17": 17, "-1": 0, "+5": 0, "x": 0, "1.5": 0, fmt.Sprint(math.MaxInt64): math.MaxInt64,
	} {
		if got := parseFence(s); got != want {
			t.Errorf("parseFence(%q) = %d, want %d", s, got, want)
		}
	}
}

// Who finds a term lost may come before its context has been ended, and is about to release.
func TestLossEndsTheContextOfATermThatIsLost(t *testing.T) {
	term := newTerm(t.Context(), &Lock{Key: "k", Pool: new(redis.Pool)})
	defer term.stop(nil)
	term.lost = &lostError{term.lock, errTaken}
	term.lose(errReleased)
	if cause := context.Cause(term.ctx); !errors.Is(cause, errTaken) {
		t.Errorf("the context ended with %v, want why it was lost first", cause)
	}
}
