package setlock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/notify"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/trace"
)

// A renewal is a session as its renewer knows it: how long the session may be trusted, and
// when its lock is to be renewed.
type renewal struct {
	remote  *remote
	hold    *hold
	trace   *trace.Trace // of the context of the Do
	session ender

	mu     sync.Mutex // guards the fields below
	trust  trust
	failed error // why renewals fail; nil when the last one counted

	// Guarded by renewer.mu:
	state     state
	schedule  schedule
	due       time.Duration // when the next scheduled renewal is due, since renewer.start
	index     int           // in renewer.queue
	extra     bool          // the renewal that is ready or sent was not scheduled
	again     bool          // the renewal that is sent does not count as one of now
	suspect   bool          // a connection was unanswered from this renewal on
	part      int           // of a batch whose connection broke; 0 to parts-1
	announced *notify.Subscription
	calls     sync.WaitGroup // calls of session, and reports to a trace
}

// An ender is what a renewal can end: its session. A renewal knows no more of it, so that
// renewals do not depend on sessions.
type ender interface {
	// lose ends the session because of reason.
	lose(reason error)
	// taken ends the session because the key is no longer its key.
	taken()
}

// A state says what the renewer does with a renewal.
type state int

const (
	idle  state = iota // it waits until it is due
	ready              // it waits for a batch
	sent               // it is in a batch
	over               // it is not renewed any more
)

// left returns how much of the trust is left at now.
func (e *renewal) left(now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.trust.left(now)
}

// age returns how much time has passed at now since the last renewal that counted was sent.
func (e *renewal) age(now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return clock.Elapsed(e.trust.sent, now)
}

// reason returns why trust has ended.
func (e *renewal) reason() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed != nil {
		return fmt.Errorf("%w: %w", errUntrusted, e.failed)
	}
	return errUntrusted
}

// renewed records a renewal that was sent at sent and whose reply came at now. It returns
// errLate if the renewal does not count.
func (e *renewal) renewed(sent, now time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next, counts := e.trust.renewed(sent, now)
	if !counts {
		return errLate
	}
	e.trust, e.failed = next, nil
	return nil
}

// failure records why a renewal failed, for the error of a loss. A timeout does not replace
// an earlier error, because the earlier error tells more.
func (e *renewal) failure(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed == nil || !errors.Is(err, context.DeadlineExceeded) {
		e.failed = err
	}
}

// doubts reports whether what the subscription received leaves doubt that the session still
// holds the lock.
func (e *renewal) doubts() bool {
	message, missed, up := e.announced.Take()
	switch {
	case !up:
		return false
	case missed:
		return true
	case len(message) == 0:
		return false
	}
	a, ok := protocol.ParseAnnouncement(string(message))
	return !ok || !a.Acquired || a.Value != e.hold.value
}

// close ends what the renewal has begun. The renewal must be over.
func (e *renewal) close() {
	if e.announced != nil {
		e.announced.Close()
	}
	e.calls.Wait()
}

// A group is a set of renewals that may be sent in one batch.
type group struct {
	outside  bool
	replicas int
	class    int // of the Leases
	part     int
	alone    *renewal // the one renewal of the group; nil: any number
}

func (e *renewal) group() group {
	g := group{outside: e.schedule.outside, replicas: e.remote.replicas, class: e.remote.lease.class(), part: e.part}
	if e.suspect {
		g.alone = e
	}
	return g
}
