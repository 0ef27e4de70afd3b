package timeline

import "time"

// A Kind says what an Event is about.
type Kind string

// The kinds of events. Those of a term change a Timeline; those that the demo or a button caused are its marks.
const (
	Note     Kind = "note"     // words only
	Elected  Kind = "elected"  // OnElected is called, a term begins
	Told     Kind = "told"     // the context of OnElected has ended, the replica knows that its term is over
	Counts   Kind = "counts"   // a write of the leader was accepted; Time is when it was sent
	Refused  Kind = "refused"  // a write was refused, because a later leader has written
	Seen     Kind = "seen"     // a replica that reports nothing was seen to lead
	Unseen   Kind = "unseen"   // this replica is not seen to lead any more
	Judgment Kind = "verdict"  // how the run was, see Verdict
	Began    Kind = "starts"   // a process was started
	Dead     Kind = "dead"     // a process has ended; it may have been killed
	Paused   Kind = "paused"   // a process was stopped by SIGSTOP
	Resumed  Kind = "resumed"  // a process is about to be continued by SIGCONT
	Cut      Kind = "cut"      // a replica was cut off from Redis
	Healed   Kind = "healed"   // the replica reaches Redis again
	Resigns  Kind = "resigns"  // a replica was asked to resign
	Stopped  Kind = "stopped"  // Redis was stopped
	Emptied  Kind = "flushed"  // Redis has lost its data
	Restored Kind = "restored" // Redis was started again
)

// An Event is something that happened, to a replica or to Redis.
type Event struct {
	Time    time.Time `json:"time"`
	Who     string    `json:"who"`
	Kind    Kind      `json:"event"`
	Fence   int64     `json:"fence,omitempty"`
	Count   int64     `json:"count,omitempty"`
	Killed  bool      `json:"killed,omitempty"` // of Dead: by a signal
	Text    string    `json:"text,omitempty"`   // what happened, in words; "" where another event has the words
	Verdict *Verdict  `json:"verdict,omitempty"`
}

// done reports whether somebody did this, so that it is a mark in the picture.
func (k Kind) done() bool {
	switch k {
	case Dead, Paused, Resumed, Cut, Healed, Resigns, Stopped, Emptied, Restored:
		return true
	}
	return false
}

// name returns a word for what was done, for pictures.
func (e Event) name() string {
	switch e.Kind {
	case Dead:
		if e.Killed {
			return "killed"
		}
		return "ended"
	case Resumed:
		return "continued"
	case Cut:
		return "cut off"
	case Healed:
		return "back"
	case Stopped:
		return "stopped"
	case Emptied:
		return "flushed"
	case Restored:
		return "started"
	}
	return string(e.Kind)
}
