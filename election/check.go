package election

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/setlock/internal/clock"
)

// The errors of [Election.Check]. Test for them with [errors.Is].
var (
	// ErrOverdue means that OnElected does not stop. Another candidate may lead meanwhile, so the
	// process should be killed.
	ErrOverdue = errors.New("election: OnElected is overdue")

	// ErrUnavailable means that this candidate cannot be elected, because of Redis or of the lock
	// key. The process is not the reason, so it should not be killed.
	ErrUnavailable = errors.New("election: Redis has not accepted requests")
)

// errEndless is the cause of an ErrUnavailable.
var errEndless = errors.New("the lock key has no expiry, so it blocks every candidate until it is deleted")

// Check returns the first of these errors that applies, and otherwise nil:
//   - [ErrOverdue], if OnElected still runs although its context ended tolerance ago. The error
//     wraps the cause of the context.
//   - [ErrUnavailable], if one of these has lasted for tolerance, counted from the first failure
//     that this candidate saw: Redis has not answered, has answered with an error, or has refused
//     every attempt to be elected. Or the lock key has no expiry: then nobody can be elected until
//     it is deleted by hand. The error says what happened and wraps the last error.
//   - The error of the last Run, if it has returned one, until another Run begins. If OnElected
//     ended the Run by a panic or by [runtime.Goexit], Check returns an error too.
//
// A liveness probe should fail if Check returns an error that is not ErrUnavailable. It should not
// fail on ErrUnavailable, because an outage of Redis would then kill every candidate. A follower
// is as healthy and as ready as the leader.
//
// A follower sends a request to Redis about once per Lease, so it may notice an outage that late.
// An attempt that finds the lock held counts as accepted when a leader is seen.
func (e *Election) Check(tolerance time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.running {
		return e.failed
	}
	now := e.clock.Now()
	if e.term != nil && !e.term.ended.IsZero() {
		if late := clock.Elapsed(e.term.ended, now); late >= tolerance {
			return fmt.Errorf("%w: it still runs %v after its context ended: %w", ErrOverdue, late.Round(time.Millisecond), context.Cause(e.term.ctx))
		}
	}
	return e.health.check(now, tolerance)
}
