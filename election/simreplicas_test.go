package election_test

import (
	"slices"
	"strconv"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// What the replicas of the server confirm, and who says that an acquisition counts
// which they have not.

// replicate answers WAIT as a server does.
func (s *simulation) replicate(c *server.Peer, args []string) {
	want, _ := strconv.Atoi(args[0])
	ms, _ := strconv.Atoi(args[1])
	s.mu.Lock()
	back := s.back
	s.mu.Unlock()
	if back != nil && want > 0 {
		timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-back:
			back = nil
		}
	}
	s.mu.Lock()
	l := s.links[c]
	old := ""
	if l != nil {
		old = l.old
		var g *grant // the newest
		for _, value := range l.values {
			if h := s.values[value]; h != nil && (g == nil || h.n > g.n) {
				g = h
			}
		}
		switch {
		case g == nil || g.p != l.p || g.used || old != "":
		case back == nil:
			g.confirmed = true
			s.confirmed()
		case g.p.short.IsZero() && s.holds == g.value:
			g.p.short = time.Now()
		}
		l.values = nil
	}
	s.mu.Unlock()
	switch {
	case old != "":
		c.WriteError(old)
	case back != nil:
		c.WriteInt(s.replicas - 1)
	default:
		c.WriteInt(s.replicas)
	}
}

func (s *simulation) canLackReplicas(_ *peer) bool { return s.replicas > 0 }

// lackReplicas has one replica confirm nothing for up to four times d.
func (s *simulation) lackReplicas(_ *peer, d time.Duration) {
	d *= time.Duration(1 + s.rand.IntN(4))
	s.answersBadly(d, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away++; s.back == nil {
		s.back = make(chan struct{})
	}
	end := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.away--; s.away == 0 {
			close(s.back)
			s.back = nil
		}
	}
	s.queue = append(s.queue, event{at: time.Now().Add(d), f: end, trouble: true, quiet: true})
}

// disturb notes that something else happens than that no replica confirms anything.
func (s *simulation) disturb() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upset = time.Now()
	s.confirmed()
}

// confirmed notes that from now on it is to be seen again whether replicas confirm what
// they should. s.mu is locked.
func (s *simulation) confirmed() {
	for _, p := range s.peers {
		p.short = time.Time{}
	}
}

// lacks returns for how long no attempt of p was confirmed, nor of anybody, while
// nothing else was wrong with anybody; 0 if that is not for long. s.mu is locked.
func (p *peer) lacks(now time.Time) time.Duration {
	s := p.s
	if p.short.IsZero() || p.working || p.machine.asleep(s.glance()) {
		return 0
	}
	from := p.short.Add(-s.lease * 3 / 2) // some may be seen to lead for a lease, though they are gone
	if s.upset.After(from) {
		return 0
	}
	for _, q := range s.peers {
		if q.stumbled(from) || slices.ContainsFunc(q.troubled(from, now), func(w span) bool { return !w.away }) {
			return 0
		}
	}
	lacks := now.Sub(p.short) - s.slack()
	if lacks < s.lease/2 {
		return 0
	}
	s.sum.lacks++
	return lacks
}
