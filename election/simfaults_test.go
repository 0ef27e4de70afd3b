package election_test

import (
	"context"
	"errors"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
)

// foreign is what a program writes into the key that knows nothing of locks.
const foreign = "foreign"

// A trouble is something that can happen to p, a candidate, or to all. What lasts, lasts for d.
type trouble struct {
	name  string
	often int
	can   func(s *simulation, p *peer) bool // nil: at any time
	cause func(s *simulation, p *peer, d time.Duration)
}

var troubles = []trouble{
	{"partition of one", 8, nil, func(s *simulation, p *peer, d time.Duration) { s.partition(p, d, s.fault()) }},
	{"partition of all", 2, nil, func(s *simulation, _ *peer, d time.Duration) { s.partition(nil, d, s.fault()) }},
	{"slow", 3, (*simulation).early, func(s *simulation, p *peer, d time.Duration) { s.slow(p, d) }},
	{"slow for all", 1, (*simulation).early, func(s *simulation, _ *peer, d time.Duration) { s.slow(nil, d) }},
	{"reset", 2, nil, func(s *simulation, p *peer, _ time.Duration) { s.reset(p) }},
	{"reset of all", 1, nil, func(s *simulation, _ *peer, _ time.Duration) { s.reset(nil) }},
	{"one request", 12, nil, (*simulation).lose},
	{"errors", 1, nil, (*simulation).errors},
	{"out of memory", 1, nil, (*simulation).outOfMemory},
	{"pause", 1, nil, func(s *simulation, _ *peer, d time.Duration) {
		s.partition(nil, d, redistest.Faults{HoldRequests: true})
	}},
	{"restart", 1, nil, func(s *simulation, _ *peer, d time.Duration) { s.restart(d, func() {}) }},
	{"restart without data", 1, (*simulation).canLoseData, func(s *simulation, _ *peer, d time.Duration) { s.restart(d, s.flush) }},
	{"restart with old data", 1, (*simulation).canLoseData, func(s *simulation, _ *peer, d time.Duration) { s.restart(d, s.restore) }},
	{"flush", 1, (*simulation).canLoseData, func(s *simulation, _ *peer, _ time.Duration) { s.flush() }},
	{"fence key expired", 2, (*simulation).canExpireFence, func(s *simulation, _ *peer, _ time.Duration) { s.server.Del(fenceKey) }},
	{"delete", 1, nil, (*simulation).del},
	{"steal", 1, nil, (*simulation).steal},
	{"scripts flushed", 1, nil, func(s *simulation, _ *peer, _ time.Duration) { s.flushScripts() }},
	{"server clock forward", 1, nil, (*simulation).serverForward},
	{"server clock back", 2, (*simulation).canStepBack, (*simulation).serverBack},
	{"fences go down", 1, nil, (*simulation).fencesDown},
	{"failover", 2, nil, (*simulation).failover},
	{"replicas away", 8, (*simulation).canLackReplicas, (*simulation).lackReplicas},
	{"flapping", 2, nil, func(s *simulation, p *peer, d time.Duration) { s.flap(p, d) }},
	{"flapping of all", 1, nil, func(s *simulation, _ *peer, d time.Duration) { s.flap(nil, d) }},
	{"resign", 2, nil, (*simulation).resign},
	{"leave", 2, nil, (*simulation).leave},
	{"kill", 2, nil, (*simulation).kill},
	{"suspend", 3, (*simulation).canSuspend, (*simulation).suspend},
	{"clock forward", 1, nil, (*simulation).clockForward},
	{"clock back", 1, (*simulation).canSetBack, (*simulation).clockBack},
}

// trouble does one thing to the world, most often to the leader.
func (s *simulation) trouble() {
	all := 0
	for _, t := range troubles {
		if happens(t.name, true) {
			all += t.often
		}
	}
	if all == 0 {
		return
	}
	which, who, leader := s.rand.IntN(all), s.rand.IntN(len(s.slots)), s.rand.IntN(2) == 0
	d := time.Duration(s.rand.ExpFloat64() * float64(s.lease))
	if s.rand.IntN(3) == 0 {
		d /= 4
	}
	d = min(d, 2*s.lease) + time.Millisecond
	p := s.slots[who]
	for _, q := range s.slots {
		if q != nil && leader && q.e.IsLeader() {
			p = q
		}
	}
	if p == nil || p.leaving {
		return
	}
	for _, t := range troubles {
		if !happens(t.name, true) {
			continue
		}
		if which -= t.often; which >= 0 {
			continue
		}
		if t.can != nil && !t.can(s, p) {
			return
		}
		s.note("%s: %s, %v", t.name, p.name, d.Round(time.Millisecond))
		s.set(func() { s.sum.troubles[t.name]++ })
		if t.name != "replicas away" {
			s.disturb()
		}
		t.cause(s, p, d)
		wait()
		s.check()
		return
	}
}

// early reports whether what is slow can be over before the lull.
func (s *simulation) early(_ *peer) bool { return time.Until(s.end) > 4*s.lease }

// suffers notes that something is wrong with p, nil for all, for d.
func (s *simulation) suffers(p *peer, d time.Duration) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	wrong := &s.wrong
	if p != nil {
		wrong = &p.wrong
	}
	*wrong = append(*wrong, span{from: now, to: now.Add(d)})
}

// answersBadly notes that the server does not do what it is asked for, for d, perhaps
// because replicas are away.
func (s *simulation) answersBadly(d time.Duration, away bool) {
	now := time.Now()
	s.set(func() { s.wrong = append(s.wrong, span{now, now.Add(d), true, away}) })
}

// fault is something that a network can do.
func (s *simulation) fault() redistest.Faults {
	return []redistest.Faults{
		redistest.Silent, {HoldRequests: true}, {HoldReplies: true}, {LoseReplies: true}, {Refuse: true},
		{Refuse: true, HoldRequests: true}, {Refuse: true, LoseReplies: true},
	}[s.rand.IntN(7)]
}

// partition does f to the network of p, nil for all, for d.
func (s *simulation) partition(p *peer, d time.Duration, f redistest.Faults) {
	s.suffers(p, d+2*f.Delay)
	faults, cut := &s.faults, &s.cut
	if p != nil {
		faults, cut = &p.faults, &p.cut
	}
	if f.HoldReplies || f.LoseReplies {
		now := time.Now()
		s.set(func() { *cut = append(*cut, span{from: now, to: now.Add(d)}) })
	}
	*faults = append(*faults, &f)
	s.apply()
	s.after(d, func() {
		var rest []*redistest.Faults
		for _, g := range *faults {
			if g != &f {
				rest = append(rest, g)
			}
		}
		*faults = rest
		s.apply()
	})
}

func (s *simulation) apply() {
	for _, p := range s.peers { // those that were killed have sent something
		p.apply()
	}
}

func (s *simulation) slow(p *peer, d time.Duration) {
	s.partition(p, d, redistest.Faults{Delay: d / time.Duration(1+s.rand.IntN(20))})
}

func (s *simulation) reset(p *peer) {
	s.suffers(p, 0)
	for _, q := range s.peers {
		if p == nil || p == q {
			q.network.Reset()
		}
	}
}

// lose has one request of p meet a fate, and provokes one that is rare.
func (s *simulation) lose(p *peer, d time.Duration) {
	script := []string{"acquire", "renew", "release", "look"}[s.rand.IntN(4)]
	fate := redistest.Fate(s.rand.IntN(4))
	name := []string{"reply lost of ", "reset behind ", "reset before ", "one way from "}[fate] + script
	sleeps := fate == redistest.OneWay && s.rand.IntN(2) == 0 && s.canSuspend(p)
	if sleeps {
		name = "asleep behind " + script
	}
	end := time.Now().Add(d)
	if fate == redistest.OneWay {
		s.suffers(p, d+s.glance())
	}
	p.network.Next(func(request []byte) bool {
		if scriptOf(request) != script {
			return false
		}
		now := time.Now()
		s.note("%s: %s", p.name, name)
		if left := end.Sub(now) - p.machine.sleeps(); sleeps && left > 0 && !p.machine.steppedBack(2*s.lease) {
			p.machine.suspend(left)
		}
		s.set(func() {
			p.wrong = append(p.wrong, span{from: now, to: now})
			p.broken = append(p.broken, now) // with what is on its way behind the request
			p.deaf = p.deaf || fate == redistest.Lose
			s.sum.troubles[name]++
		})
		return true
	}, fate)
	s.after(d, func() {
		p.network.Next(nil, 0)
		p.apply()
	})
	switch script {
	case "release":
		p.e.Resign()
	case "acquire":
		for _, q := range s.slots {
			if q != nil && q != p && q.e.IsLeader() {
				q.e.Resign()
			}
		}
	}
}

// resign ends a term, if there is one, at once.
func (s *simulation) resign(p *peer, _ time.Duration) {
	s.mu.Lock()
	ctx, fence := p.ctx, p.fence
	s.mu.Unlock()
	p.e.Resign()
	if ctx == nil {
		return
	}
	if cause := context.Cause(ctx); cause == nil {
		s.errorf("%s: resigned, and the context of %d lives", p.name, fence)
	}
	if !errors.Is(context.Cause(ctx), election.ErrResigned) {
		s.note("%s: had ended before", p.name)
	}
}

// leave ends a process, and another comes in its place: at once, or later.
func (s *simulation) leave(p *peer, d time.Duration) {
	p.leave()
	s.replace(p, d)
}

// kill does the same as kill -9 does.
func (s *simulation) kill(p *peer, d time.Duration) {
	p.kill(s.rand.IntN(2) == 0)
	s.replace(p, d)
}

func (s *simulation) replace(p *peer, d time.Duration) {
	for slot, q := range s.slots {
		if q != p {
			continue
		}
		if s.rand.IntN(2) == 0 {
			s.begin(slot)
			return
		}
		s.slots[slot] = nil
		s.after(d, func() { s.begin(slot) })
	}
}

// canSuspend reports whether the wall clock of p tells how long it sleeps.
func (s *simulation) canSuspend(p *peer) bool { return s.early(p) && !p.machine.steppedBack(2*s.lease) }

// suspend has the machine of p sleep for d.
func (s *simulation) suspend(p *peer, d time.Duration) {
	d = p.machine.suspend(d)
	s.suffers(p, d+s.glance())
	p.apply()
	s.after(d, p.apply)
}

// clockForward sets the wall clock of p: as if it had slept until now.
func (s *simulation) clockForward(p *peer, d time.Duration) {
	p.machine.step(d)
	now := time.Now()
	s.set(func() { p.wrong = append(p.wrong, span{from: now.Add(-d), to: now}) })
}

// canSetBack reports whether the monotonic clock of p tells how much time passes.
func (s *simulation) canSetBack(p *peer) bool { return !p.machine.asleep(2 * s.lease) }

// clockBack sets the wall clock of p back, of which nobody notices anything.
func (s *simulation) clockBack(p *peer, d time.Duration) { p.machine.step(-d) }
