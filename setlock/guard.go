package setlock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/setlock/internal/clock"
)

// A guard watches the trust in the lock of a session. It ends the session when trust ends,
// by a timer that depends on no network.
type guard struct {
	clock clock.Clock
	lost  func(reason error) // ends the session

	mu      sync.Mutex // guards the fields below
	trust   trust
	failed  error // why renewals fail; nil when the last one counted
	stopped bool
	timer   clock.Timer    // calls check
	checks  sync.WaitGroup // calls of check that run or will run
}

func newGuard(c clock.Clock, t trust, lost func(reason error)) *guard {
	return &guard{clock: c, trust: t, lost: lost}
}

// start starts the timer. The caller must call stop.
func (g *guard) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.checks.Add(1)
	g.timer = g.clock.AfterFunc(g.pause(), g.check)
}

// stop stops the timer, and blocks until no check runs.
func (g *guard) stop() {
	g.mu.Lock()
	g.stopped = true
	if g.timer.Stop() {
		g.checks.Done()
	}
	g.mu.Unlock()
	g.checks.Wait()
}

// check ends the session when trust has ended.
func (g *guard) check() {
	defer g.checks.Done()
	if g.stillTrusted() {
		return
	}
	g.lost(g.reason())
}

// stillTrusted reports whether the session need not end: trust has not ended, or the guard
// was stopped. While trust has not ended, stillTrusted also sets the timer for the next
// check.
func (g *guard) stillTrusted() bool {
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

// pause returns how long the timer runs before the next check: until trust ends, but only
// for a short time, because a suspended machine stops the timer and does not stop the wall
// clock.
func (g *guard) pause() time.Duration {
	return lease(g.trust.ttl).glance(g.trust.left(g.clock.Now()))
}

// left returns how much of the trust is left.
func (g *guard) left() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.trust.left(g.clock.Now())
}

// reason returns why trust has ended.
func (g *guard) reason() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed != nil {
		return fmt.Errorf("%w: %w", errUntrusted, g.failed)
	}
	return errUntrusted
}

// renewed records a renewal that was sent at sent and whose reply has just come. It returns
// errLate if the renewal does not count.
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

// failure records why a renewal failed, for the error of a loss. A timeout does not replace
// an earlier error, because the earlier error tells more.
func (g *guard) failure(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failed == nil || !errors.Is(err, context.DeadlineExceeded) {
		g.failed = err
	}
}
