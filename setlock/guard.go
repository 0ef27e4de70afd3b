package setlock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/setlock/internal/clock"
)

// A guard watches over the trust in the lock of a session. It ends the session when
// the trust ends, by a timer that depends on no network.
type guard struct {
	clock clock.Clock
	lost  func(reason error) // ends the session

	mu      sync.Mutex // guards what follows
	trust   trust
	failed  error // why the last renewal failed; nil: it counted
	stopped bool
	timer   clock.Timer    // runs check
	checks  sync.WaitGroup // check, when it is to run or runs
}

func newGuard(c clock.Clock, t trust, lost func(reason error)) *guard {
	return &guard{clock: c, trust: t, lost: lost}
}

// start begins to watch, until stop.
func (g *guard) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checks.Add(1)
	g.timer = g.clock.AfterFunc(g.pause(), g.check)
}

// stop returns when no check runs, and none will.
func (g *guard) stop() {
	g.mu.Lock()
	g.stopped = true
	if g.timer.Stop() {
		g.checks.Done()
	}
	g.mu.Unlock()
	g.checks.Wait()
}

// check ends the session when the trust has ended.
func (g *guard) check() {
	defer g.checks.Done()
	if g.holds() {
		return
	}
	g.lost(g.reason())
}

// holds reports whether the trust has not ended, and has check run again then. It does
// so after stop, too.
func (g *guard) holds() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return true
	}
	if g.trust.left(g.clock.Now()) <= 0 {
		return false
	}
	g.checks.Add(1)
	g.timer.Reset(g.pause())
	return true
}

// pause is for how long the timer sleeps: until the trust ends, but not for long, because a
// suspended machine stops the timer and not the wall clock.
func (g *guard) pause() time.Duration {
	return lease(g.trust.ttl).glance(g.trust.left(g.clock.Now()))
}

// left returns how much of the trust is left.
func (g *guard) left() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.trust.left(g.clock.Now())
}

// reason returns why the trust has ended.
func (g *guard) reason() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed != nil {
		return fmt.Errorf("%w: %w", errUntrusted, g.failed)
	}
	return errUntrusted
}

// renewed notes a renewal that was sent at sent and answered now. It returns an error
// if it does not count.
func (g *guard) renewed(sent time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	next, counts := g.trust.renewed(sent, g.clock.Now())
	if !counts {
		return errLate
	}
	g.trust, g.failed = next, nil
	return nil
}

// failure notes why a renewal failed, for the error of a loss. Between a failure and
// the end of the time for the next attempt, the failure tells more.
func (g *guard) failure(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil || !errors.Is(err, context.DeadlineExceeded) {
		g.failed = err
	}
}
