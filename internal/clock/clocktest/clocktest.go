// Package clocktest provides a clock for tests. Its time moves only when the test moves it.
package clocktest

import (
	"slices"
	"sync"
	"time"

	"example.com/setlock/internal/clock"
)

// A Fake is a [clock.Clock] whose time moves only by Advance and Suspend. Its methods may
// be called by several goroutines at the same time.
type Fake struct {
	mu      sync.Mutex
	now     time.Time     // what Now returns
	ticked  time.Duration // the time that has passed for the timers
	started int           // number of timers started, to order timers that are due together
	timers  []*timer      // the running timers, in the order in which they are due
}

// New returns a Fake at a fixed time.
func New() *Fake {
	return &Fake{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
}

// Now returns the time of the clock.
func (f *Fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Advance moves the time by d. It stops at each timer that is due, in order, and runs the
// timer before the time moves on: a channel timer has its value, and the function of an
// AfterFunc has returned. Advance must not be called from such a function.
func (f *Fake) Advance(d time.Duration) {
	f.mu.Lock()
	end := f.ticked + d
	for len(f.timers) > 0 && f.timers[0].due <= end {
		t := f.timers[0]
		f.timers = f.timers[1:]
		step := max(t.due-f.ticked, 0)
		f.ticked += step
		f.now = f.now.Add(step)
		if t.f == nil {
			t.c <- f.now
			continue
		}
		f.mu.Unlock()
		t.f()
		f.mu.Lock()
	}
	f.now = f.now.Add(end - f.ticked)
	f.ticked = end
	f.mu.Unlock()
}

// Suspend moves Now by d and does not move the timers, as a suspended machine does.
func (f *Fake) Suspend(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// Timers returns the number of timers that are running.
func (f *Fake) Timers() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.timers)
}

// NewTimer returns a timer whose channel receives the time after d.
func (f *Fake) NewTimer(d time.Duration) clock.Timer {
	return f.start(d, &timer{fake: f, c: make(chan time.Time, 1)})
}

// AfterFunc returns a timer that makes Advance call fn after d.
func (f *Fake) AfterFunc(d time.Duration, fn func()) clock.Timer {
	return f.start(d, &timer{fake: f, f: fn})
}

type timer struct {
	fake  *Fake
	due   time.Duration
	order int
	c     chan time.Time
	f     func()
}

func (f *Fake) start(d time.Duration, t *timer) *timer {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.insert(t, d)
	return t
}

func (f *Fake) insert(t *timer, d time.Duration) {
	f.started++
	t.due, t.order = f.ticked+max(d, 0), f.started
	at, _ := slices.BinarySearchFunc(f.timers, t, func(a, b *timer) int {
		if a.due != b.due {
			return int(min(max(a.due-b.due, -1), 1))
		}
		return a.order - b.order
	})
	f.timers = slices.Insert(f.timers, at, t)
}

func (t *timer) C() <-chan time.Time { return t.c }

func (t *timer) Stop() bool {
	t.fake.mu.Lock()
	defer t.fake.mu.Unlock()
	return t.stop()
}

func (t *timer) Reset(d time.Duration) bool {
	t.fake.mu.Lock()
	defer t.fake.mu.Unlock()
	running := t.stop()
	t.fake.insert(t, d)
	return running
}

// stop removes t from the running timers and drains its channel, so that no stale value is
// received later.
func (t *timer) stop() bool {
	at := slices.Index(t.fake.timers, t)
	if at >= 0 {
		t.fake.timers = slices.Delete(t.fake.timers, at, at+1)
	}
	if t.c != nil {
		select {
		case <-t.c:
		default:
		}
	}
	return at >= 0
}
