package election_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"example.com/setlock/internal/clock"
)

// A machine is the clock of a machine that can sleep: its timers and its
// monotonic clock stand still then, and its wall clock does not. The wall clock can be
// set.
type machine struct {
	start time.Time // when it began, by the bubble

	mu     sync.Mutex
	set    time.Duration // what the wall clock was set forward by
	slept  time.Duration // how long it has slept, and is to sleep
	wakes  time.Time     // when it wakes up, or has
	back   time.Time     // when the wall clock was last set back
	timers map[*machineTimer]struct{}
	prune  int // the number of timers at which those that have run are forgotten
}

func newMachine() *machine {
	return &machine{start: time.Now(), timers: make(map[*machineTimer]struct{})}
}

// epoch has both a wall and a monotonic reading, which no time in a bubble has.
var epoch = time.Now()

// reading returns the time wall and mono after epoch, by either clock. Package time
// has no way to say that. It keeps the monotonic reading in the second word.
func reading(wall, mono time.Duration) time.Time {
	t := epoch.Add(wall)
	(*struct {
		wall uint64
		mono int64
		loc  *time.Location
	})(unsafe.Pointer(&t)).mono += int64(mono - wall)
	return t
}

func (c *machine) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	up := time.Since(c.start)
	return reading(up+c.set, up-c.slept+c.toSleep())
}

// toSleep returns how much longer it sleeps. c.mu is locked.
func (c *machine) toSleep() time.Duration { return max(time.Until(c.wakes), 0) }

type machineTimer struct {
	clock.Timer
	c   *machine
	due time.Time
}

func (c *machine) NewTimer(d time.Duration) clock.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.add(clock.System.NewTimer(max(d, 0)+c.toSleep()), d)
}

func (c *machine) AfterFunc(d time.Duration, f func()) clock.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.add(clock.System.AfterFunc(max(d, 0)+c.toSleep(), f), d)
}

func (c *machine) add(timer clock.Timer, d time.Duration) clock.Timer {
	t := &machineTimer{timer, c, time.Now().Add(max(d, 0) + c.toSleep())}
	if len(c.timers) >= c.prune {
		now := time.Now()
		for old := range c.timers {
			if old.due.Before(now) {
				delete(c.timers, old)
			}
		}
		c.prune = 2*len(c.timers) + 16
	}
	c.timers[t] = struct{}{}
	return t
}

func (t *machineTimer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	delete(t.c.timers, t)
	return t.Timer.Stop()
}

func (t *machineTimer) Reset(d time.Duration) bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	d = max(d, 0) + t.c.toSleep()
	t.due = time.Now().Add(d)
	t.c.timers[t] = struct{}{}
	return t.Timer.Reset(d)
}

// suspend has it sleep for d, or for so much longer. It returns how long it sleeps from now on.
func (c *machine) suspend(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakes = time.Now().Add(c.toSleep() + d)
	c.slept += d
	for t := range c.timers {
		if t.Timer.Stop() {
			t.due = t.due.Add(d)
			t.Timer.Reset(time.Until(t.due))
		}
	}
	return c.toSleep()
}

// step sets the wall clock, forward or back.
func (c *machine) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set += d
	if d < 0 {
		c.back = time.Now()
	}
}

// sleeps returns how much longer it sleeps.
func (c *machine) sleeps() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.toSleep()
}

// asleep reports whether it sleeps, or has woken up less than grace ago.
func (c *machine) asleep(grace time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slept > 0 && time.Until(c.wakes) > -grace
}

// steppedBack reports whether its wall clock was set back within the last d.
func (c *machine) steppedBack(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.back.IsZero() && time.Since(c.back) < d
}

// What a machine shows is what a real one does, or the simulation proves nothing.
func TestMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine()
		check := func(what string, from time.Time, mono, wall time.Duration) {
			t.Helper()
			now := m.Now()
			if got := now.Sub(from); got != mono {
				t.Errorf("%s: %v by the monotonic clock, want %v", what, got, mono)
			}
			if got := now.Round(0).Sub(from.Round(0)); got != wall {
				t.Errorf("%s: %v by the wall clock, want %v", what, got, wall)
			}
		}
		from := m.Now()
		timer := m.NewTimer(3 * time.Second)
		time.Sleep(time.Second)
		check("awake", from, time.Second, time.Second)
		m.suspend(4 * time.Second)
		time.Sleep(2 * time.Second)
		check("asleep", from, time.Second, 3*time.Second)
		m.suspend(time.Second)
		time.Sleep(3 * time.Second)
		check("woken", from, time.Second, 6*time.Second)
		<-timer.C()
		check("when its timer has run", from, 3*time.Second, 8*time.Second)
		from = m.Now()
		m.step(-time.Minute)
		check("set back", from, 0, -time.Minute)
		time.Sleep(time.Second)
		check("set back", from, time.Second, time.Second-time.Minute)
		if !m.steppedBack(2*time.Second) || m.steppedBack(time.Second/2) || m.asleep(time.Second) {
			t.Errorf("it does not know what has become of it: %+v", m)
		}
	})
}
