package election

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/setlock"
)

// A Change is what has become of an election, as one candidate sees it.
type Change struct {
	Leader  string    // the Owner of the leader's Lock; "" when nobody is known to lead
	Leading bool      // whether that is this candidate
	Fence   int64     // the leader's fencing token; 0 when there is none
	Err     error     // why this candidate's own term has ended; nil otherwise, and when OnElected has returned nil by itself
	Time    time.Time // when this candidate learnt it
}

// changesBuffer is how far a reader of Changes may be behind.
const changesBuffer = 16

// Changes returns a channel of its own for each call. It receives the present state
// first, the zero Change if nothing is known yet, and then every change in order. A
// reader that is more than 16 behind misses the oldest of them, never the
// newest. Nobody waits for a reader: a channel may be abandoned. But it is kept, with its last 16
// changes, until Run returns: call Changes once for each consumer, not for each request.
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

// A trouble is an error that lasts, and since when. Without an error there is none.
type trouble struct {
	err   error
	since time.Time
}

// then returns the trouble after err, nil for none, at some time.
func (t trouble) then(err error, at time.Time) trouble {
	switch {
	case err == nil:
		return trouble{}
	case t.err == nil:
		return trouble{err, at}
	}
	return trouble{err, t.since}
}

// Exchanged is told of each exchange with Redis. One that works says nothing of the
// attempts to be elected: a Redis that can be read may refuse to write.
func (o observer) Exchanged(at time.Time, err error) {
	o.mu.Lock()
	o.exchange = o.exchange.then(err, at)
	o.warn(err)
}

// tries notes that an attempt to be elected begins.
func (e *Election) tries() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.trying = true
}

// failed notes that an attempt to be elected has failed.
func (e *Election) failed(err error) {
	e.mu.Lock()
	e.attempt = e.attempt.then(err, e.clock.Now())
	e.warn(err)
}

// answered notes that attempts to be elected need not fail: this candidate leads, or
// another that the watch shows.
func (e *Election) answered() {
	e.mu.Lock()
	e.attempt, e.trying = trouble{}, false
	e.warn(nil)
}

// warn logs err if it is of another kind than the last one, which a success forgets unless
// it is that of a read while an attempt is tried. It unlocks e.mu. After
// Run has returned it does nothing: the helper that undoes an acquisition may end later.
func (e *Election) warn(err error) {
	changed := false
	switch {
	case err != nil:
		changed = kind(err) != e.warned
		e.warned = kind(err)
	case e.exchange.err == nil && !e.trying:
		e.warned = ""
	}
	changed = changed && e.running
	e.mu.Unlock()
	if changed {
		e.log(slog.LevelWarn, "attempt failed", slog.Any("err", err))
	}
}

// kind is what stays the same of an error from try to try, and from one that
// wraps it: without the port that a connection happened to have.
func kind(err error) string {
	var dns *net.DNSError
	var op *net.OpError
	var answer redis.Error
	switch {
	case errors.As(err, &dns):
		return "lookup " + dns.Name
	case errors.As(err, &op):
		return op.Op + ": " + op.Err.Error()
	case errors.As(err, &answer):
		return string(answer)
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// log logs with the keys that every record has.
func (e *Election) log(level slog.Level, msg string, attrs ...slog.Attr) {
	if e.Logger == nil {
		return
	}
	attrs = append([]slog.Attr{slog.String("key", e.Lock.Key), slog.String("owner", e.owner())}, attrs...)
	e.Logger.LogAttrs(context.Background(), level, msg, attrs...)
}
