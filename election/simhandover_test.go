package election_test

import (
	"strings"
	"time"
)

// A handover is what follows when the leader has resigned: those who wait have been told.
type handover struct {
	from    *peer
	at      time.Time // when the lock was released
	waiting []*peer
}

// released begins a handover if the term of g ended because its leader had resigned, just
// now. s.mu is locked.
func (s *simulation) released(g *grant) {
	now := time.Now()
	if g.p == nil || g.p.resigned != g.fence || now.Sub(g.p.returned) > s.slack() || !g.p.calmSince(g.p.returned, now) {
		return
	}
	h := &handover{from: g.p, at: now}
	for _, q := range s.peers {
		if q != g.p && !q.working && now.Sub(q.began) > s.lease*3/2 && now.After(q.rests) && s.listened(q, now) && s.waits(q, now) {
			h.waiting = append(h.waiting, q)
		}
	}
	if s.hand = h; len(h.waiting) > 0 {
		s.sum.handovers++
	}
}

// waits reports whether nothing keeps p from acquiring the lock that was released at some
// time. s.mu is locked.
func (s *simulation) waits(p *peer, at time.Time) bool {
	from := at.Add(-s.lease * 3 / 2)
	return !p.killed && !p.leaving && !p.gone && p.calmSince(from, time.Now()) && !p.stumbled(from) && !p.machine.asleep(s.lease) &&
		s.listened(p, time.Now())
}

// who returns the names of those who wait still. s.mu is locked.
func (s *simulation) who(h *handover) string {
	var names []string
	for _, p := range h.waiting {
		if s.waits(p, h.at) {
			names = append(names, p.name)
		}
	}
	return strings.Join(names, ", ")
}

// taken checks who has acquired the lock after a resignation. s.mu is locked.
func (s *simulation) taken(g *grant) {
	h := s.hand
	if h == nil {
		return
	}
	s.hand = nil
	long := time.Since(h.at)
	if names := s.who(h); names != "" && (g.p == h.from || long > s.slack()) {
		s.errorf("%s has resigned, and %s has the lock %v later, though there wait %s", h.from.name, g.p.name, long, names)
	}
}

// handedOver checks that a candidate has acquired the lock after a resignation.
func (s *simulation) handedOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hand
	if h == nil || time.Since(h.at) <= s.slack() {
		return
	}
	s.hand = nil
	if names := s.who(h); names != "" {
		s.errorf("%s has resigned, and nobody has the lock %v later, though there wait %s", h.from.name, time.Since(h.at), names)
	}
}
