package notify

import (
	"time"

	"example.com/setlock/internal/clock"
)

const (
	// quiet is how long a connection may be silent before it is checked by a PING. It may
	// be long, because subscribers have the connection checked when a message is missing. A
	// SUBSCRIBE that Redis has refused is also sent again this often.
	quiet = 2 * time.Minute
	// patience is how long a connection may take to answer, or to deliver a message that is
	// missing.
	patience = 5 * time.Second
)

// A pulse tells whether a connection works. It is a value.
type pulse struct {
	heard   time.Time // when something arrived last, or when the connection began
	asked   time.Time // when the oldest command without a reply was sent; zero: all have a reply
	missing time.Time // when the oldest missing message began to be missing; zero: none is missing
}

// A condition is the state of a connection.
type condition int

const (
	fine condition = iota
	idle           // nothing has arrived for quiet: the connection must be checked
	dead           // the connection does not answer
	mute           // the connection answers, but does not deliver a missing message
)

// check returns the condition at now, and how long it lasts if nothing changes.
func (p pulse) check(now time.Time) (condition, time.Duration) {
	next, left := idle, quiet-clock.Elapsed(p.heard, now)
	switch {
	case !p.asked.IsZero():
		next, left = dead, patience-min(clock.Elapsed(p.asked, now), clock.Elapsed(p.heard, now))
	case !p.missing.IsZero():
		if untilMute := patience - clock.Elapsed(p.missing, now); untilMute <= left {
			next, left = mute, untilMute
		}
	}
	if left > 0 {
		return fine, left
	}
	return next, 0
}
