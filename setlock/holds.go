package setlock

import (
	"sync"
	"time"

	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/wire"
)

// A holds is what a Lock knows of its own acquisitions. The zero holds knows of none.
type holds struct {
	mu      sync.Mutex // guards what follows, and hold.belief; never held across I/O
	held    *hold      // nil: not held, as far as is known
	orphans orphans
}

// current returns the hold, or nil.
func (s *holds) current() *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// fence returns the fence of the hold, or 0 when there is none that is trusted.
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

// trusted returns for how much longer the Do that stored value may be trusted; 0 if there is
// none.
func (s *holds) trusted(value string) time.Duration {
	h := s.current()
	if h == nil || h.work == nil || h.value != value {
		return 0
	}
	return h.work.trusted()
}

// attempt notes that h is about to be acquired. It returns the value that is this Lock's
// already, or "", and those that it may adopt.
func (s *holds) attempt(now time.Time, h *hold) (mine string, adopt []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held != nil {
		mine = s.held.value
	}
	s.orphans = s.orphans.expire(now)
	adopt = s.orphans.values()
	s.orphans = s.orphans.add(orphan{value: h.value, until: h.belief.ends, running: true})
	return mine, adopt
}

// failed notes the fate of the acquisition of h. One that was undone remains an orphan where
// there are replicas: one that has missed the undo may be promoted.
func (s *holds) failed(h *hold, fate wire.Fate, replicas int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !fate.MayHaveRun() || fate == wire.Undone && replicas == 0 {
		s.orphans = s.orphans.remove(h.value)
	}
}

// returned notes that the call which acquires h has returned, or panicked.
func (s *holds) returned(h *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans.returned(h.value)
}

// concluded notes the outcome of the acquisition of h. It returns the hold that this Lock
// had until then and has no longer, or nil.
func (s *holds) concluded(h *hold, outcome protocol.Outcome) (lost *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans = s.orphans.remove(h.value)
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

// any reports whether there is anything to release at now.
func (s *holds) any(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orphans = s.orphans.expire(now)
	return s.held != nil || len(s.orphans.values()) > 0
}

// releasing notes that an Unlock at now is about to release the hold and all orphans. It returns
// the hold, or nil, and their values.
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

// change sets the belief in h to what f makes of it, and returns what it was.
func (s *holds) change(h *hold, f func(belief) belief) belief {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := h.belief
	h.belief = f(before)
	return before
}

// drop notes that h is not held any more. It reports whether it was held until now, and
// no Unlock may have released it.
func (s *holds) drop(h *hold) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h == nil || s.held != h {
		return false
	}
	s.held = nil
	return h.belief.unlocks == 0
}

// orphan notes that h is not held any more, but its release is not known to have arrived. Nor is its
// last renewal, which may still set the key's time to d from now on.
func (s *holds) orphan(h *hold, now time.Time, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == h {
		s.held = nil
	}
	until := later(h.belief.ends, now.Add(d).Add(lateFor))
	s.orphans = s.orphans.add(orphan{value: h.value, until: until})
}
