package history_test

import (
	"fmt"
	"time"
)

// What a client did.
type action int

const (
	acquire  action = iota // Lock, and what Do does first
	renew                  // Renew
	extend                 // Extend
	release                // Unlock
	look                   // Holder
	believe                // a client believes that it holds the lock
	finish                 // what Do does last
	remove                 // a user deletes the key
	persist                // its expiry is removed by hand
	register               // from here on, of the fenced register
	write
	read
)

func (a action) String() string {
	return [...]string{
		"acquire", "renew", "extend", "release", "look", "believe", "finish", "remove", "persist", "register", "write", "read",
	}[a]
}

// What came of it.
type outcome int

const (
	unknown outcome = iota // an error: it has happened at some time since, or never
	done
	mine  // nothing was done: the client holds the lock
	other // nothing was done: another holds the lock
	notHeld
	nobody
	refused
)

func (o outcome) String() string {
	return [...]string{"unknown", "done", "mine", "other", "notHeld", "nobody", "refused"}[o]
}

// An op is one call, between two moments.
type op struct {
	action  action
	client  int
	hold    int           // the acquisition that it is about: of acquire, its own name
	d       time.Duration // of acquire, renew, extend
	kept    bool          // of acquire: a Do renews it; of believe: that has a margin
	call    int64         // when it began
	ret     int64         // when it ended; when an unknown one has happened, if ever
	outcome outcome
	owner   int           // of look
	fence   int64         // of remove: of the hold whose key it was, 0 for nobody's
	left    time.Duration // the remaining time that was told, 0 for none; of remove, what the key had
	value   int           // of write and read
}

func (o op) String() string {
	s := fmt.Sprintf("c%d %v", o.client, o.action)
	if o.hold != 0 {
		s += fmt.Sprintf(" #%d", o.hold)
	}
	if o.d != 0 {
		s += fmt.Sprintf(" for %v", o.d)
	}
	if o.value != 0 {
		s += fmt.Sprintf(" value %d", o.value)
	}
	s += fmt.Sprintf(" -> %v", o.outcome)
	if o.action == look && o.outcome == done {
		s += fmt.Sprintf(" c%d", o.owner)
	}
	if o.fence != 0 {
		s += fmt.Sprintf(" fence %d", o.fence)
	}
	if o.left != 0 {
		s += fmt.Sprintf(" %v left", o.left)
	}
	return s
}
