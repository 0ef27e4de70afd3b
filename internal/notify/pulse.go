package notify

import (
	"time"

	"example.com/setlock/internal/clock"
)

const (
	// quiet is after how much silence a connection is checked by a PING.
	// Subscribers have it checked when a message is missing, so this may be rare. As often,
	// what was refused is subscribed to again.
	quiet = 2 * time.Minute
	// patience is how long an answer may take, and a message that is missing.
	patience = 5 * time.Second
)

// A pulse is what tells whether a connection is of use. It is a value.
type pulse struct {
	heard   time.Time // when something came last; at first, when the connection began
	asked   time.Time // when the oldest command without a reply was sent; zero: all have one
	missing time.Time // when the oldest message that is still missing was missed; zero: none is
}

// A condition is what a pulse tells.
type condition int

const (
	fine condition = iota
	idle           // nothing has come for long: it must be asked for an answer
	dead           // it does not answer
	mute           // it answers, and does not bring what it should
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
