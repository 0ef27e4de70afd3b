package setlock

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"example.com/setlock/internal/protocol"
)

// The tables of what the renewer decides with, which no test from outside sees exactly.

// A queue has the renewal that is to be looked at first at its head, whatever was done to it.
func TestQueue(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 1))
		var q queue
		model := make(map[*renewal]time.Duration)
		var all []*renewal
		for step := range 300 {
			at := time.Duration(random.IntN(100))
			switch k := random.IntN(10); {
			case k < 4 || len(all) == 0:
				e := new(renewal)
				q.add(e, at)
				all, model[e] = append(all, e), at
			case k < 6:
				i := random.IntN(len(all))
				q.remove(all[i])
				delete(model, all[i])
				all = slices.Delete(all, i, i+1)
			case k < 9:
				e := all[random.IntN(len(all))]
				q.move(e, at)
				model[e] = at
			default:
				later := func(e *renewal) time.Duration { return 100 - model[e] }
				q.moveAll(later)
				for e := range model {
					model[e] = later(e)
				}
			}
			if len(q) != len(model) {
				t.Fatalf("seed %d, step %d: %d renewals, want %d", seed, step, len(q), len(model))
			}
			for i, e := range q {
				if e.renewal.index != i || e.at != model[e.renewal] || e.at < q[0].at {
					t.Fatalf("seed %d, step %d: %v at %d, index %d, behind %v; want %v", seed, step, e.at, i, e.renewal.index, q[0].at, model[e.renewal])
				}
			}
		}
	}
}

// The fence key is set with the lock key when it would outlive it by less than an hour.
func TestFenceKeyIsDue(t *testing.T) {
	const hour, minute = time.Hour, time.Minute
	for _, test := range []struct {
		name      string
		set, at   time.Duration // since the acquisition
		last, now time.Duration // the remaining times of the lock key
		want      bool
	}{
		{"at once", 0, 0, minute, minute, false},
		{"an hour later", 0, hour, minute, minute, false},
		{"more than an hour later", 0, hour + 1, minute, minute, true},
		{"an hour after the last time", 5 * hour, 6 * hour, minute, minute, false},
		{"more than an hour after the last time", 5 * hour, 6*hour + 1, minute, minute, true},
		{"for longer, and the hour is left", 0, 0, minute, minute + hour, false},
		{"for longer", 0, 0, minute, minute + hour + 1, true},
		{"for shorter", 0, hour + minute, 2 * hour, minute, false},
		{"a Lease of a day", 0, 8 * hour, 24 * hour, 24 * hour, true},
	} {
		var f fenceKey
		f.set(test.set, test.last)
		if got := f.due(test.at, test.now); got != test.want {
			t.Errorf("%s: due = %v, want %v", test.name, got, test.want)
		}
	}
	if protocol.FenceLinger != 2*hour {
		t.Errorf("a fence key outlives its lock by %v, want what this table assumes", protocol.FenceLinger)
	}
}

// Which renewals share a batch.
func TestGroup(t *testing.T) {
	with := func(change func(e *renewal)) *renewal {
		e := &renewal{remote: &remote{lease: lease(DefaultLease)}}
		if change != nil {
			change(e)
		}
		return e
	}
	base := with(nil)
	for _, test := range []struct {
		name   string
		change func(e *renewal)
		want   bool
	}{
		{"the same", nil, true},
		{"after other renewals", func(e *renewal) { e.schedule.steady, e.due, e.extra = true, 7, true }, true},
		{"another connection", func(e *renewal) { e.schedule.outside = true }, false},
		{"other Replicas", func(e *renewal) { e.remote.replicas = 1 }, false},
		{"another part of a batch that broke", func(e *renewal) { e.part = 1 }, false},
		{"a suspect", func(e *renewal) { e.suspect = true }, false},
		{"a Lease of three times as much", func(e *renewal) { e.remote.lease *= 3 }, false},
		{"a Lease of a third", func(e *renewal) { e.remote.lease /= 3 }, false},
	} {
		if got := with(test.change).group() == base.group(); got != test.want {
			t.Errorf("%s: in one batch: %v, want %v", test.name, got, test.want)
		}
	}
	suspects := func(e *renewal) { e.suspect = true }
	if one, other := with(suspects), with(suspects); one.group() == other.group() {
		t.Error("two suspects share a batch")
	}
	for l := lease(MinLease); l <= lease(MaxLease); l += l / 3 {
		if l.class() == (2*l + 1).class() {
			t.Errorf("leases of %d and of more than twice that share a batch", l)
		}
	}
	if c := lease(MaxLease).class(); c >= len(renewer{}.retry) {
		t.Errorf("class %d of the longest Lease has no place", c)
	}
}

// The renewals of a batch that is larger than the calm ones are spread over the time in which so
// many are due on average.
func TestSpread(t *testing.T) {
	const l = lease(60 * time.Second)
	const interval = 20 * time.Second
	for _, test := range []struct {
		name         string
		sessions, in int
		most         time.Duration // how much earlier a renewal comes
	}{
		{"one of one", 1, 1, 0},
		{"a calm batch", 1000, 76, 0},
		{"one more", 1000, 77, interval * 77 / 1000},
		{"half of all", 1000, 500, interval / 2},
		{"all", 1000, 1000, interval},
		{"all, and sessions have ended since", 500, 1000, interval},
		{"a calm batch of many", 10_000, 128, 0},
		{"one more of many", 10_000, 129, interval * 129 / 10_000},
	} {
		r := &renewer{queue: make(queue, test.sessions)}
		b := &batch{renewals: make([]*renewal, test.in)}
		e := &renewal{remote: &remote{lease: l}}
		var got []time.Duration
		for range 1000 {
			got = append(got, r.spread(e, b))
		}
		least, most, mean := slices.Min(got), slices.Max(got), mean(got)
		if least < 0 || most > test.most || least > test.most/20 || most < test.most*19/20 || (mean-test.most/2).Abs() > test.most/10 {
			t.Errorf("%s: earlier by %v to %v, %v on average, want 0 to %v", test.name, least, most, mean, test.most)
		}
	}
}

func mean(all []time.Duration) time.Duration {
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	return sum / time.Duration(len(all))
}
