package election_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/setlock/setlock"
)

// The judge of a simulation. It sees every write of the server, and knows what is in
// each candidate's mind. What it reads of the server it reads before it locks
// simulation.mu, for the server tells it of writes while its own lock is held.

const (
	lockKey     = "k"
	fenceKey    = "{k}:fence"
	lockChannel = "setlock:k"
)

// A grant is an acquisition, as the server has made it.
type grant struct {
	p         *peer
	n         int // how many there were before
	fence     int64
	value     string
	at        time.Time
	announced bool
	confirmed bool // by the replicas, if there are any
	used      bool // its work was called
}

// A span is a time in which something was wrong.
type span struct {
	from, to time.Time
	answers  bool // the server answers, though not as it should
	away     bool // and that is because replicas are away
}

// meets reports whether a part of the time from from to to is in w.
func (w span) meets(from, to time.Time) bool { return !w.to.Before(from) && !w.from.After(to) }

func (w span) String() string { return w.from.Format("04:05.000 for ") + w.to.Sub(w.from).String() }

// Parts of the lease, as the documentation of Do states them.
func (s *simulation) trust() time.Duration  { return s.lease - s.lease/10 }
func (s *simulation) margin() time.Duration { return s.lease/10 - time.Millisecond } // Redis counts milliseconds
func (s *simulation) glance() time.Duration { return s.lease/20 + time.Millisecond }

// renewal is when one whom nothing keeps from it has renewed: a third after the one
// before, or a retry later.
func (s *simulation) renewal() time.Duration { return s.lease/3 + s.lease/20 + s.slack() }

// slack is for what takes no time but that of the network, and for whole milliseconds.
func (s *simulation) slack() time.Duration { return 5*time.Millisecond + 12*s.latency + 6*s.jitter }

// key returns what stands in the lock key, and for how long.
func (s *simulation) key() (string, time.Duration) {
	s.tick()
	value, _ := s.server.Get(lockKey)
	return value, s.server.TTL(lockKey)
}

// excuse notes that the key is about to be taken from whoever holds it: deleted, stolen, lost, or
// expired early. Nobody announces what comes.
func (s *simulation) excuse() {
	value, _ := s.key()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds, s.told, s.toldAt = unknown, unknown, time.Now()
	s.hand = nil
	if value != "" && value != foreign {
		s.events = append(s.events, time.Now())
	}
}

// unknown is what stands in the key as far as announced, when it was changed by hand.
const unknown = "?"

// stands returns why p must not believe in its term, "" if it may: the key is its own
// and will be for the margin, or was taken from it so lately that it need not know.
// s.mu is locked.
func (s *simulation) stands(p *peer, value string, left time.Duration) string {
	g := s.grants[p.fence]
	if g == nil {
		return "nobody gave it that fence"
	}
	if value == g.value && left >= s.margin() {
		return ""
	}
	now := time.Now()
	for _, at := range s.events {
		bound := s.trust()
		if p.calmSince(at.Add(-s.lease/3), now) {
			bound = s.renewal() // and it can have learnt of it
		}
		if !g.at.After(at) && now.Sub(at) <= bound {
			return ""
		}
	}
	if value == g.value {
		return fmt.Sprintf("%v of its key is left", left)
	}
	return fmt.Sprintf("the key holds %q", value)
}

// believes reports whether p works and its context lives. s.mu is locked.
func (p *peer) believes() bool {
	return p.ctx != nil && p.ctx.Err() == nil && !p.killed
}

// elected is called by the work of p when it begins.
func (s *simulation) elected(ctx context.Context, p *peer, fence int64) {
	value, left := s.key()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.terms++
	g := s.grants[fence]
	switch {
	case g == nil || g.p != p || g.used:
		s.errorf("%s: elected with the fence %d, which is not its own: %+v", p.name, fence, g)
		return
	case p.working:
		s.errorf("%s: works twice", p.name)
	}
	g.used = true
	s.note("%s elected with %d", p.name, fence)
	p.ctx, p.fence, p.start, p.working = ctx, fence, time.Now(), true
	for _, q := range s.peers {
		grace := s.glance()
		if q == p {
			grace = 0
		}
		if !q.believes() || q.machine.asleep(grace) {
			continue
		}
		if why := s.stands(q, value, left); why != "" {
			s.errorf("%s believes in %d when %s is elected with %d: %s", q.name, q.fence, p.name, fence, why)
		}
		if q != p {
			s.sum.overlaps++
		}
	}
}

// ended is called by the work of p when its context has ended, before it returns.
func (s *simulation) ended(ctx context.Context, p *peer) {
	value, left := s.key()
	cause := context.Cause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.killed {
		return
	}
	s.note("%s: the context of %d ended: %v", p.name, p.fence, cause)
	if !errors.Is(cause, setlock.ErrLost) || p.machine.asleep(s.glance()) {
		return
	}
	s.sum.losses++
	if why := s.stands(p, value, left); why != "" {
		s.errorf("%s: when its context ended, %s: %v", p.name, why, cause)
	}
	now := time.Now()
	if g := s.grants[p.fence]; g != nil && value == g.value {
		if left >= s.margin() {
			s.sum.margin = min(s.sum.margin, float64(left)/float64(s.lease))
		}
		if wrong := p.troubled(now.Add(-s.lease*13/10), now); len(wrong) == 0 ||
			len(wrong) == 1 && wrong[0].to.Sub(wrong[0].from) < s.lease/3 {
			s.errorf("%s: lost its lock for %v: %v", p.name, wrong, cause)
		}
	}
	for _, q := range s.peers {
		if q != p && q.believes() && q.start.After(p.start) {
			s.sum.overlap = max(s.sum.overlap, float64(now.Sub(q.start))/float64(s.lease))
		}
	}
}

// check holds at every step, when all that takes no time has happened.
func (s *simulation) check() {
	value, left := s.key()
	fence, _ := s.server.Get(fenceKey)
	now := time.Now()
	s.mu.Lock()
	if value != s.seen {
		s.seen, s.since = value, now
	}
	if len(s.events) > 0 && now.Sub(s.events[0]) > 2*s.lease {
		s.events = s.events[1:]
	}
	s.mu.Unlock()
	s.seeEnds()
	s.left(value)
	believers := 0
	for _, p := range s.alive() {
		s.checkCompanions(p)
		leads, leader, stats := p.e.IsLeader(), p.e.Leader(), p.e.Stats()
		s.mu.Lock()
		if p.believes() && !p.machine.asleep(s.glance()) {
			if why := s.stands(p, value, left); why != "" {
				s.errorf("%s believes in %d: %s", p.name, p.fence, why)
			} else if value == s.grants[p.fence].value {
				believers++
			}
		}
		told := p.told
		asleep := p.machine.asleep(s.glance())
		switch {
		case leads && (!p.believes() || !told.Leading):
			s.errorf("%s: IsLeader, but works %v, context %v, told %+v", p.name, p.working, p.ctx, told)
		case leads && s.stands(p, value, left) != "":
			s.errorf("%s: IsLeader, but %s", p.name, s.stands(p, value, left))
		case p.believes() && !leads && p.calmSince(now.Add(-s.glance()), now):
			s.errorf("%s: works and may, but IsLeader is false", p.name)
		case told.Leading && (!p.working || p.fence != told.Fence):
			s.errorf("%s: told %+v, but its work has returned", p.name, told)
		case told.Leading && !asleep && s.stands(p, value, left) != "":
			s.errorf("%s: told %+v, but %s", p.name, told, s.stands(p, value, left))
		case p.owes:
			s.errorf("%s: its work has failed, told %+v", p.name, told)
		case leader.Owner != told.Leader || leader.Fence != told.Fence:
			s.errorf("%s: Leader %+v, told %+v", p.name, leader, told)
		}
		s.follows(p, leader, value, fence)
		s.forgets(p, leader)
		s.counts(p, leads, leader, stats)
		s.orphaned(p, value)
		short := p.lacks(now)
		s.mu.Unlock()
		if short > 0 && p.e.Check(short) == nil {
			s.errorf("%s: Check is nil, and no attempt was confirmed for %v", p.name, short)
		}
	}
	s.handedOver()
	if s.looker != nil {
		s.looker.check(value, fence)
	}
	if believers > 1 {
		s.errorf("%d have the key", believers)
	}
}
