package clocktest

import (
	"sync"
	"time"
	"unsafe"

	"example.com/setlock/internal/clock"
)

// base has a monotonic reading. A time of a testing/synctest bubble has none.
var base = time.Now()

// A Wall is the clock of the machine, or of a testing/synctest bubble, whose wall clock a test
// sets. Its monotonic clock and its timers do not follow. Its methods may be called by several
// goroutines at the same time.
type Wall struct {
	clock.Clock
	start time.Time

	mu    sync.Mutex
	ahead time.Duration // of the wall clock
}

// NewWall returns a Wall.
func NewWall() *Wall { return &Wall{Clock: clock.System, start: clock.System.Now()} }

// Step sets the wall clock forward by d, or back where d is negative.
func (w *Wall) Step(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

// Now returns the current time of both clocks.
func (w *Wall) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := base.Add(w.Clock.Now().Sub(w.start) + w.ahead)
	// Move the monotonic reading back, as no function of package time does. A time.Time is its
	// wall word, its ext word and a location. With a monotonic reading, ext holds nanoseconds.
	type layout struct {
		wall uint64
		ext  int64
		loc  *time.Location
	}
	(*layout)(unsafe.Pointer(&now)).ext -= int64(w.ahead)
	return now
}
