package election

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"example.com/setlock/setlock"
)

// A Change is what has become of an election, as one candidate sees it.
type Change struct {
	Leader  string    // the Owner of the leader's Lock; "" when nobody is known to lead
	Leading bool      // whether that is this candidate
	Fence   int64     // the leader's fencing token; 0 when there is none
	Err     error     // why this candidate's own term has ended; nil otherwise, and when OnElected returned nil
	Time    time.Time // when this candidate learnt it
}

// changesBuffer is how far a reader of Changes may be behind.
const changesBuffer = 16

// Changes returns a channel of its own for each call. It receives the present state
// first, the zero Change if nothing is known yet, and then every change in order. A
// reader that is more than 16 behind misses the oldest of them, never the
// newest. Nobody waits for a reader: a channel may be abandoned.
//
// The channel is closed when Run returns; after that, and until another Run,
// Changes returns one that has the last state and is closed.
func (e *Election) Changes() <-chan Change {
	c := make(chan Change, changesBuffer)
	e.mu.Lock()
	defer e.mu.Unlock()
	c <- e.present
	if e.returned {
		close(c)
		return c
	}
	if e.readers == nil {
		e.readers = make(map[chan Change]struct{})
	}
	e.readers[c] = struct{}{}
	return c
}

// change tells every reader. e.mu is locked, so nobody else sends.
func (e *Election) change(c Change) {
	e.present = c
	for reader := range e.readers {
		for sent := false; !sent; {
			select {
			case reader <- c:
				sent = true
			default:
				select {
				case <-reader: // the oldest
				default:
				}
			}
		}
	}
}

// see notes what the watch has seen.
func (e *Election) see(h setlock.Holder) {
	e.mu.Lock()
	new := h.Owner != e.present.Leader || h.Fence != e.present.Fence
	e.leader = h
	if new {
		e.change(Change{Leader: h.Owner, Fence: h.Fence, Time: e.clock.Now()})
	}
	e.mu.Unlock()
	if new && !h.Nobody() {
		e.log(slog.LevelInfo, "new leader seen", slog.String("leader", h.Owner), slog.Int64("fence", h.Fence))
	}
}

// observe is told of each exchange with Redis.
func (e *Election) observe(at time.Time, err error) {
	e.mu.Lock()
	changed := err != nil && (e.failure == nil || kind(err) != kind(e.failure))
	if e.failure == nil {
		e.failing = at
	}
	e.failure = err
	e.mu.Unlock()
	if changed {
		e.log(slog.LevelWarn, "attempt failed", slog.Any("err", err))
	}
}

// warn logs an error that observe was not told.
func (e *Election) warn(err error) {
	e.mu.Lock()
	known := e.failure != nil && errors.Is(err, e.failure)
	e.mu.Unlock()
	if !known {
		e.log(slog.LevelWarn, "attempt failed", slog.Any("err", err))
	}
}

// kind is what stays the same of an error from try to try: without the port
// that a connection happened to have.
func kind(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// log logs with the keys that every record has.
func (e *Election) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if e.Logger == nil {
		return
	}
	attrs = append([]slog.Attr{slog.String("key", e.Lock.Key), slog.String("owner", e.owner())}, attrs...)
	e.Logger.LogAttrs(context.Background(), level, msg, attrs...)
}
