package election

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
)

// A health is the trouble that a candidate has with Redis, and which error was logged last. Its
// methods record events.
type health struct {
	calls    *trouble // the trouble with calls to Redis
	attempts *trouble // the trouble with attempts to be elected
	endless  *trouble // the lock key has no expiry
	trying   bool     // an attempt is under way, or the last attempt failed
	logged   string   // the kind of the error logged last; "" since a success
}

// A trouble is a series of failures without a success in between: the last error, and the time of
// the first. nil is none.
type trouble struct {
	err   error
	since time.Time
}

// after returns the trouble after an event at the given time. err is nil for a success.
func (t *trouble) after(err error, at time.Time) *trouble {
	switch {
	case err == nil:
		return nil
	case t == nil:
		return &trouble{err, at}
	}
	return &trouble{err, t.since}
}

// called records a call that ended at the given time. err is nil if Redis answered
// as a working server does. Such an answer does not end the trouble of attempts: a Redis that
// answers reads may refuse writes.
func (h *health) called(err error, at time.Time) { h.calls = h.calls.after(err, at) }

// tries records that an attempt to be elected is under way.
func (h *health) tries() { h.trying = true }

// failed records an attempt that failed.
func (h *health) failed(err error, at time.Time) { h.attempts = h.attempts.after(err, at) }

// accepted records that this candidate leads, or that another candidate is seen to lead. So Redis
// accepts attempts.
func (h *health) accepted() { h.attempts, h.trying = nil, false }

// leads records that this candidate leads.
func (h *health) leads() {
	h.accepted()
	h.endless = nil
}

// looked records a look at the lock key at the given time. err is errEndless if the key has no
// expiry.
func (h *health) looked(err error, at time.Time) { h.endless = h.endless.after(err, at) }

// warns reports whether err, the result of the last event, is to be logged. An error is logged if
// its kind is not the kind that was logged last. After a success, an error of any kind is logged.
// A success counts when no trouble of calls or of the key is left. The exception is a read that
// succeeds while trying is set, because the attempt may still fail.
func (h *health) warns(err error) bool {
	switch {
	case err != nil:
		warn := kind(err) != h.logged
		h.logged = kind(err)
		return warn
	case h.calls == nil && h.endless == nil && !h.trying:
		h.logged = ""
	}
	return false
}

// check returns an [ErrUnavailable] if a trouble has lasted for tolerance at now.
func (h *health) check(now time.Time, tolerance time.Duration) error {
	for _, t := range []*trouble{h.calls, h.attempts, h.endless} {
		if t == nil {
			continue
		}
		if lasts := clock.Elapsed(t.since, now); lasts >= tolerance {
			what := words(t.err)
			if what != "" {
				what += ": "
			}
			return fmt.Errorf("%w for %v: %s%w", ErrUnavailable, lasts.Round(time.Millisecond), what, t.err)
		}
	}
	return nil
}

// kind returns the part of err that is the same from attempt to attempt, and in errors that wrap
// err. For example, the local port of a connection is not in it.
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
