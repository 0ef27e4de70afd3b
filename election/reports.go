package election

import (
	"context"
	"log/slog"
	"time"

	"example.com/setlock/internal/trace"
)

// This file has what the lock reports to its election.

// traced returns a context derived from ctx. The lock reports to e what it does under this context.
func (e *Election) traced(ctx context.Context) context.Context {
	return trace.NewContext(ctx, &trace.Trace{
		Called: func(at time.Time, err error) {
			e.note(err, func(h *health) {
				h.called(err, at)
				if err == nil {
					e.counters.accepted = momentOf(at)
				}
			})
		},
		Renewed: e.renewed,
		Looked:  e.looked,
		Lost:    e.lost,
		Pushed:  e.setPushed,
	})
}

// note records an event that ended with err in the health, and logs err if its kind is new.
func (e *Election) note(err error, event func(*health)) {
	if e.setHealth(err, event) {
		e.logFailed(err)
	}
}

// setHealth updates the health. It reports whether err is to be logged. The helper that undoes an
// acquisition may fail after Run has returned. Such an error is not logged.
func (e *Election) setHealth(err error, event func(*health)) (warn bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	event(&e.health)
	return e.health.warns(err) && e.running
}

// looked records what a look of the watch has found: whether the leader still leads, and whether the
// lock key has no expiry.
func (e *Election) looked(held, endless bool) {
	var err error
	if endless {
		err = errEndless
	}
	if e.setLooked(held, err) {
		e.log(slog.LevelWarn, "lock key without expiry", slog.Any("err", err))
	}
}

// setLooked records a look. It reports whether err is to be logged.
func (e *Election) setLooked(held bool, err error) (warn bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.clock.Now()
	if held {
		e.seen = momentOf(now)
	}
	e.health.looked(err, now)
	return e.health.warns(err) && e.running
}

// setPushed records whether announcements reach the watch.
func (e *Election) setPushed(up bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pushed = up
}

// hears reports whether announcements reach the watch.
func (e *Election) hears() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pushed
}
