package history_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// TestOrphans has one Lock lose sight of its acquisitions in every way, for as long as
// their keys may exist, and checks that none of them blocks it. The seed decides what
// happens; how goroutines take turns is up to the runtime.
func TestOrphans(t *testing.T) {
	first, last := uint64(1), uint64(*seeds)*10
	if *seed != 0 {
		first, last = *seed, *seed
	}
	met := make(map[string]int)
	for seed := first; seed <= last; seed++ {
		synctest.Test(t, func(t *testing.T) { newOrphanage(t, seed, met).run() })
		if t.Failed() {
			t.Fatalf("go test -run TestOrphans -history.seed %d does it again", seed)
		}
	}
	t.Logf("%d Locks: %v", last-first+1, met)
	for _, kind := range []string{"lost", "release failed", "failover", "adopted", "held", "released", "free"} {
		if met[kind] == 0 && *seed == 0 && *seeds >= 15 {
			t.Errorf("no Lock has met %q: they prove less than they claim", kind)
		}
	}
}

const (
	// mostOrphans is how many orphans a Lock has in its life here: as many as it remembers, almost.
	mostOrphans = 60
	// lateness is how long after its call a request reaches the server, at most.
	lateness = 50 * time.Second
)

func (o *orphanage) run() {
	for range 8 {
		if o.t.Failed() {
			return
		}
		switch trouble := o.mood.IntN(3); {
		case trouble == 0:
			o.lose()
		case trouble == 1 && o.lock.Replicas > 0:
			o.undo()
		default:
			o.failRelease()
		}
		time.Sleep(3 * time.Second) // for what is undone behind its back
		time.Sleep(o.some(2 * time.Hour))
		o.judge()
	}
}

// acquire makes one attempt, which may become an orphan.
func (o *orphanage) acquire() {
	if o.orphans >= mostOrphans {
		return
	}
	patience := 20*time.Millisecond + o.some(2*time.Second)
	if o.mood.IntN(2) == 0 {
		patience = 5 * time.Second // more than its connection has
	}
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	d := o.some(24 * time.Hour)
	_, err := o.lock.Lock(ctx, d)
	o.note("Lock for %v: %v", d, err)
	if err != nil && err != setlock.ErrNotHeld && err != setlock.ErrAlreadyHeld {
		o.orphans++
		o.met["unknown"]++
	}
}

// lose has acquisitions in a row whose replies, or more, are lost: after a while perhaps on
// a detour where everything is lost, what those before have sent being late.
func (o *orphanage) lose() {
	o.met["lost"]++
	started := time.Now()
	faults := []redistest.Faults{{HoldRequests: true}, {HoldRequests: true}, {HoldReplies: true}, {LoseReplies: true}, redistest.Silent}
	o.network.Set(faults[o.mood.IntN(5)])
	fickle, turn := o.mood.IntN(2) == 0, 1+o.mood.IntN(20)
	for i := range 1 + o.mood.IntN(mostOrphans) {
		if i == turn && o.mood.IntN(2) == 0 {
			o.note("from here on, nothing arrives")
			o.detour.Set(redistest.Silent)
			o.astray(true)
		}
		switch o.mood.IntN(8) {
		case 0, 1: // what happens to those before, too
			if fickle {
				o.network.Set(faults[o.mood.IntN(5)])
			}
		case 2:
			if fickle {
				o.network.Reset()
			}
		case 3:
			o.network.Next(func([]byte) bool { return true }, redistest.Fate(o.mood.IntN(3)))
		}
		o.acquire()
		if time.Since(started) > lateness-10*time.Second {
			break
		}
	}
	o.network.Next(nil, 0)
	o.detour.Reset()
	o.detour.Set(redistest.Faults{})
	o.astray(false)
	o.network.Set(redistest.Faults{})
}

// undo has acquisitions that no replica confirms, and then the replica be the server.
func (o *orphanage) undo() {
	o.setAway(true)
	for range 1 + o.mood.IntN(4) {
		o.acquire()
		time.Sleep(o.some(10 * time.Second))
	}
	if o.mood.IntN(4) > 0 {
		o.met["failover"]++
		o.failover()
	}
	o.setAway(false)
}

// failRelease has a Do that moves its expiry and cannot release.
func (o *orphanage) failRelease() {
	if o.orphans >= mostOrphans {
		return
	}
	ctx, cancel := context.WithTimeout(o.t.Context(), 10*o.lock.Lease)
	defer cancel()
	err := o.lock.Do(ctx, func(ctx context.Context) error {
		o.met["release failed"]++
		for range o.mood.IntN(4) {
			time.Sleep(o.some(o.lock.Lease))
			d, set := o.some(24*time.Hour), o.lock.Extend
			if o.mood.IntN(2) == 0 {
				set = o.lock.Renew
			}
			if o.mood.IntN(4) == 0 { // its reply is lost
				o.network.Next(func([]byte) bool { return true }, redistest.Break)
			}
			o.note("Extend or Renew for %v: %v", d, set(ctx, d))
			o.network.Next(nil, 0)
		}
		o.network.Set([]redistest.Faults{{Refuse: true}, {HoldRequests: true}, {LoseReplies: true}, redistest.Silent}[o.mood.IntN(4)])
		o.network.Reset()
		return nil
	})
	o.orphans++
	o.note("Do: %v", err)
	o.network.Set(redistest.Faults{Refuse: true})
	o.network.Reset()
	time.Sleep(o.some(4 * time.Hour))
	o.network.Set(redistest.Faults{})
}

// judge checks, when nothing is wrong any more, that the Lock can acquire: nobody else does.
func (o *orphanage) judge() {
	before := o.snapshot()
	err := o.insist(func(ctx context.Context) error {
		_, err := o.lock.Lock(ctx, time.Second+o.some(time.Minute))
		return err
	})
	o.note("the key holds %q for %v, Lock: %v", before.data[0], before.left[0], err)
	switch {
	case err == setlock.ErrAlreadyHeld:
		o.met["held"]++
	case err == nil && before.data[0] != "":
		o.met["adopted"]++
	case err == nil:
		o.met["free"]++
	default:
		o.errorf("Lock: %v, and the key holds its own acquisition %q for %v", err, before.data[0], before.left[0])
		return
	}
	if o.mood.IntN(2) > 0 {
		time.Sleep(o.some(2 * time.Minute)) // or the time passes
		return
	}
	if err := o.insist(o.lock.Unlock); err != nil {
		o.errorf("Unlock, right after: %v", err)
	}
	o.met["released"]++
	if value, err := o.server.Get(lockKey); err == nil {
		o.errorf("after Unlock the key holds %q", value)
	}
}

// insist calls f until it is answered: each time it may meet a connection that has broken.
func (o *orphanage) insist(f func(context.Context) error) (err error) {
	for range 20 {
		ctx, cancel := context.WithTimeout(o.t.Context(), 10*time.Second)
		err = f(ctx)
		cancel()
		if outcomeOf(err, notHeld) != unknown {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return err
}
