// Package clock is the only place where this module uses time.
//
// A context carries the [Clock], so no exported type of the module has one. For a context
// without a Clock, [FromContext] returns [System]. Package clocktest has a clock whose time
// is moved by a test.
package clock

import (
	"context"
	"time"
)

// A Clock tells the time and runs timers. Its methods may be called by several goroutines
// at the same time.
type Clock interface {
	// Now returns the current time.
	Now() time.Time
	// NewTimer returns a Timer that sends the time on its channel after d.
	NewTimer(d time.Duration) Timer
	// AfterFunc returns a Timer that calls f in its own goroutine after d. The C of this
	// Timer returns nil.
	AfterFunc(d time.Duration, f func()) Timer
}

// A Timer is a [time.Timer] of a Clock. As with time.Timer since Go 1.23, no stale value is
// received from C after Stop or Reset has returned.
type Timer interface {
	C() <-chan time.Time
	Stop() bool
	Reset(d time.Duration) bool
}

// System is the clock of the machine. Inside a testing/synctest bubble, System is the clock
// of the bubble.
var System Clock = system{}

type system struct{}

type systemTimer struct{ *time.Timer }

func (system) Now() time.Time { return time.Now() }

func (system) NewTimer(d time.Duration) Timer { return systemTimer{time.NewTimer(d)} }

func (system) AfterFunc(d time.Duration, f func()) Timer {
	return systemTimer{time.AfterFunc(d, f)}
}

func (t systemTimer) C() <-chan time.Time { return t.Timer.C }

// Elapsed returns how much time has passed between two readings of a Clock: the larger of
// the differences on the monotonic and on the wall clock. The monotonic clock stops while a
// machine is suspended. The wall clock may be set back. So a lease has ended when it has
// ended by either clock.
func Elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

type key struct{}

// NewContext returns a context derived from ctx that carries c.
func NewContext(ctx context.Context, c Clock) context.Context {
	return context.WithValue(ctx, key{}, c)
}

// FromContext returns the Clock that ctx carries, or System.
func FromContext(ctx context.Context) Clock {
	if c, ok := ctx.Value(key{}).(Clock); ok {
		return c
	}
	return System
}

// WithTimeout is [context.WithTimeout] on the Clock that ctx carries. When d has passed,
// the cause of the context is [context.DeadlineExceeded], and its Err is
// [context.Canceled]. The context has no Deadline of its own.
func WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := FromContext(ctx).AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	return ctx, func() {
		timer.Stop()
		cancel(context.Canceled)
	}
}
