package setlock

import (
	"sync"
	"time"

	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/wire"
)

// A holds records a Lock's own acquisitions: the hold, and the orphans. The zero holds is
// empty.
type holds struct {
	mu      sync.Mutex // guards the fields below and the belief of every hold
	held    *hold      // nil when the Lock holds nothing, as far as it knows
	trying  *hold      // non-nil while a call acquires it: no other call may adopt or release it
	orphans orphans
}

// current returns the hold, or nil when there is none.
func (s *holds) current() *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// fence returns the fence of the hold, or 0 when there is no hold that is trusted.
func (s *holds) fence() int64 {
	s.mu.Lock()
	h := s.held
	var b belief
	if h != nil {
		b = h.belief
	}
	s.mu.Unlock()
	if h == nil {
		return 0
	}
	return h.fenceAt(h.clock.Now(), b)
}

// trusted returns how much longer the session that stored value may be trusted. It returns
// 0 when there is no such session.
func (s *holds) trusted(value string) time.Duration {
	h := s.current()
	if h == nil || h.session == nil || h.value != value {
		return 0
	}
	return h.session.trusted()
}

// attempt records that h is about to be acquired. It returns the value that this Lock holds
// already, or "", and the values of the orphans that h may adopt.
func (s *holds) attempt(h *hold) (mine string, adopt []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		mine = s.held.value
	}
	s.orphans = s.orphans.expire(h.acquired)
	s.trying = h
	return mine, s.orphans.values()
}

// failed records the fate of the acquisition of h, which failed. An acquisition that is
// known not to exist is no orphan. With replicas, one that was undone may become an orphan,
// because a replica that has missed the undo may be promoted.
func (s *holds) failed(h *hold, fate wire.Fate, replicas int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case fate.MayHaveRun() && (fate != wire.Undone || replicas > 0):
	case s.trying == h:
		s.trying = nil
	default: // the fate is known after the call has returned
		s.orphans = s.orphans.remove(h.value)
	}
}

// returned records that the call which acquires h has returned or panicked. Without a known
// outcome, h is an orphan from now on.
func (s *holds) returned(h *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trying == h {
		s.trying = nil
		s.orphans = s.orphans.add(orphan{value: h.value, until: h.belief.ends})
	}
}

// concluded records the outcome of the acquisition of h, which is now known. It returns the
// hold that this Lock had before and has lost, or nil.
func (s *holds) concluded(h *hold, outcome protocol.Outcome) (lost *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trying = nil
	lost = s.held
	switch outcome {
	case protocol.Acquired:
		s.held = h
	case protocol.Mine:
		return nil
	case protocol.Other:
		s.held = nil
	}
	return lost
}

// anyToRelease reports whether at now there is a hold, or an orphan, to release.
func (s *holds) anyToRelease(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans = s.orphans.expire(now)
	return s.held != nil || len(s.orphans.values()) > 0
}

// releasing records that an Unlock at now is about to release the hold and all orphans. It
// returns the hold, or nil, and the values to release.
func (s *holds) releasing(now time.Time) (h *hold, values []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans = s.orphans.expire(now)
	values = s.orphans.values()
	if s.held != nil {
		s.held.belief.unlocks++
		values = append(values, s.held.value)
	}
	return s.held, values
}

// change sets the belief of h to the result of f. It returns the belief before, and whether the
// Lock still holds h: if not, a release that has failed meanwhile does not know the change.
func (s *holds) change(h *hold, f func(belief) belief) (before belief, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before = h.belief
	h.belief = f(before)
	return before, s.held == h
}

// drop records that h is not held any more. It reports whether h was held until now and no
// Unlock may have released it.
func (s *holds) drop(h *hold) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h == nil || s.held != h {
		return false
	}
	s.held = nil
	return h.belief.unlocks == 0
}

// orphan records that h is not held any more, but that its release may not have reached
// Redis. Its last renewal may also reach Redis late, and set the remaining time of the key
// to d from now on.
func (s *holds) orphan(h *hold, now time.Time, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == h {
		s.held = nil
	}
	until := later(h.belief.ends, now.Add(d).Add(lateFor))
	s.orphans = s.orphans.add(orphan{value: h.value, until: until})
}
