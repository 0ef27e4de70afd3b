package election

import (
	"log/slog"
	"time"

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
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changes.subscribe(e.returned)
}

// see notes the holder that the watch has shown.
func (e *Election) see(h setlock.Holder) {
	if e.noteHolder(h) && !h.Nobody() {
		e.log(slog.LevelInfo, "new leader seen", slog.String("leader", h.Owner), slog.Int64("fence", h.Fence))
	}
}

// noteHolder tells readers of h. It returns false if that is no change.
func (e *Election) noteHolder(h setlock.Holder) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leader = h
	if present := e.changes.present; h.Owner == present.Leader && h.Fence == present.Fence {
		return false
	}
	e.changes.tell(Change{Leader: h.Owner, Fence: h.Fence, Time: e.clock.Now()})
	return true
}

// A changes is the last Change, and who reads them. It is used by one goroutine at a time.
type changes struct {
	present Change
	readers map[chan Change]struct{}
}

// subscribe returns a channel that receives the present state, and then every change until close;
// with ended, it is closed after the present state.
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

// tell makes c the present state, and sends it to every reader. It never blocks: where a reader is
// too far behind, the oldest change is dropped.
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
