package election

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
)

// A health is how well a candidate gets on with Redis, and what of it was logged. It is
// a value: its methods return the health after what happened.
type health struct {
	calls    trouble // of calls to Redis
	attempts trouble // of attempts to be elected
	trying   bool    // an attempt is under way, or the last one has failed
	logged   string  // the kind of error last logged; "" since a success
}

// A trouble is an error that lasts, and since when. Without an error there is none.
type trouble struct {
	err   error
	since time.Time
}

// after returns the trouble after err, nil for none, at some time.
func (t trouble) after(err error, at time.Time) trouble {
	switch {
	case err == nil:
		return trouble{}
	case t.err == nil:
		return trouble{err, at}
	}
	return trouble{err, t.since}
}

// called returns the health after a call that ended at some time, with nil where Redis answered as a
// server that works. That says nothing of attempts: a Redis that can be read may refuse to write.
func (h health) called(err error, at time.Time) health {
	h.calls = h.calls.after(err, at)
	return h
}

// tries returns the health while an attempt to be elected is under way.
func (h health) tries() health {
	h.trying = true
	return h
}

// failed returns the health after an attempt that failed.
func (h health) failed(err error, at time.Time) health {
	h.attempts = h.attempts.after(err, at)
	return h
}

// accepted returns the health when attempts need not fail: this candidate leads, or another
// one is seen to lead.
func (h health) accepted() health {
	h.attempts, h.trying = trouble{}, false
	return h
}

// warns reports whether err, the last one, is to be logged: when it is of another kind than the one
// that was logged last. A success forgets that one, except the success of a read while an
// attempt is under way.
func (h health) warns(err error) (health, bool) {
	switch {
	case err != nil:
		warn := kind(err) != h.logged
		h.logged = kind(err)
		return h, warn
	case h.calls.err == nil && !h.trying:
		h.logged = ""
	}
	return h, false
}

// check returns an error when Redis has been in trouble for tolerance at now.
func (h health) check(now time.Time, tolerance time.Duration) error {
	for _, t := range []trouble{h.calls, h.attempts} {
		if t.err == nil {
			continue
		}
		if lasts := clock.Elapsed(t.since, now); lasts >= tolerance {
			return fmt.Errorf("election: Redis has not answered for %v: %w", lasts.Round(time.Millisecond), t.err)
		}
	}
	return nil
}

// kind is what stays the same of an error from attempt to attempt, and of one that
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
