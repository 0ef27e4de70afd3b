package election

import (
	"log/slog"
	"time"

	"example.com/setlock/setlock"
)

// A Change is one change of an election, as one candidate sees it. A follower that cannot ask Redis
// sees that nobody is known to lead at most a quarter of the Lease after the leader's remaining time
// has run out. Attempts to be elected, each of a third of the Lease at most, delay this while they are
// under way.
type Change struct {
	Leader  string    // the Owner of the leader's Lock; "" when nobody is known to lead
	Leading bool      // whether this candidate is the leader
	Fence   int64     // the leader's fencing token; 0 when nobody is known to lead
	Time    time.Time // when this candidate learnt of the change

	// Err is why this candidate's term ended, joined with the error of OnElected if that says more
	// than that its context has ended. It is nil if OnElected returned nil by itself, and in any
	// other Change.
	//
	// A loss is told while OnElected still runs. If OnElected then returns an error of its own, a
	// second Change has that error. A second Change also has a loss that is found when the term is
	// over: the key was taken before it was released.
	Err error
}

// changesBuffer is how many changes a reader of Changes may be behind.
const changesBuffer = 16

// Changes returns a new channel on each call. The channel receives the present state first, which
// is the zero Change if nothing is known yet, and then every change in order. A reader that is
// more than 16 changes behind misses the oldest of them, never the newest.
//
// The Election never waits for a reader, so a channel may be abandoned. But the Election keeps an
// abandoned channel, with its last 16 changes, until Run returns. So call Changes once for each
// consumer, not once for each request.
//
// The channel is closed when Run returns. After that, and until another Run, Changes returns a
// channel that has the last state and is closed.
func (e *Election) Changes() <-chan Change {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changes.subscribe(e.returned)
}

// see records the holder that the watch has shown, and logs a new leader.
func (e *Election) see(h setlock.Holder) {
	if e.noteHolder(h) && !h.Nobody() {
		e.log(slog.LevelInfo, "new leader seen", slog.String("leader", h.Owner), slog.Int64("fence", h.Fence))
	}
}

// noteHolder records h and sends it to the readers. It returns false if h is no change.
func (e *Election) noteHolder(h setlock.Holder) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.clock.Now()
	e.leader = h
	if !h.Nobody() {
		e.seen = momentOf(now)
	}
	if h.Remaining >= 0 {
		e.health.looked(nil, now)
	}
	if present := e.changes.present; h.Owner == present.Leader && h.Fence == present.Fence {
		return false
	}
	e.changes.tell(Change{Leader: h.Owner, Fence: h.Fence, Time: now})
	return true
}

// A changes is the last Change and the channels of the readers. Election.mu guards it.
type changes struct {
	present Change
	readers map[chan Change]struct{}
}

// subscribe returns a channel that receives the present state, and then every change until close.
// If ended is true, the channel has only the present state and is closed.
func (s *changes) subscribe(ended bool) <-chan Change {
	c := make(chan Change, changesBuffer)
	c <- s.present
	if ended {
		close(c)
		return c
	}
	if s.readers == nil {
		s.readers = make(map[chan Change]struct{})
	}
	s.readers[c] = struct{}{}
	return c
}

// tell makes c the present state and sends c to every reader. It never blocks: if the channel of a
// reader is full, tell drops the oldest change in it.
func (s *changes) tell(c Change) {
	s.present = c
	for reader := range s.readers {
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

// close closes the channels of all readers.
func (s *changes) close() {
	for reader := range s.readers {
		close(reader)
	}
	s.readers = nil
}
