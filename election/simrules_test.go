package election_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

// follows checks that a candidate which nothing keeps from it knows who leads. s.mu is locked.
func (s *simulation) follows(p *peer, leader setlock.Holder, value, fence string) {
	now := time.Now()
	from := now.Add(-s.lease * 3 / 2)
	if p.working || !p.calmSince(from, now) || lately(p.burnt, from) || now.Before(p.began.Add(s.lease)) {
		return
	}
	s.knows(p, p.name, leader, value, fence, !p.deaf && now.Sub(p.returned) > 2*s.lease)
}

// knows checks that one who listens knows who holds the lock: p, or the onlooker. s.mu
// is locked.
func (s *simulation) knows(p *peer, name string, leader setlock.Holder, value, fence string, hears bool) {
	now := time.Now()
	since, bound := s.since, s.lease+s.slack() // when nobody announces it
	if s.replicas > 0 {
		bound += s.lease / 5 // before one is believed of whom nobody has heard
		if p != nil && p.returned.After(since) {
			since = p.returned
		}
	}
	if value == s.told && hears {
		bound = s.lease/10 + s.slack()
		if s.toldAt.After(since) {
			since = s.toldAt
		}
		if s.replicas > 0 && !s.listened(p, s.toldAt) {
			bound += s.lease / 6 // it may be undone, for all that is known without an announcement
		}
	}
	if now.Sub(since) <= bound {
		return
	}
	want := setlock.Holder{}
	if nonce, owner, ours := strings.Cut(value, ":"); ours && len(nonce) > 0 {
		want.Owner = owner
		want.Fence, _ = strconv.ParseInt(fence, 10, 64)
	} else if value != "" {
		want.Owner = value
	}
	if want.Owner == name {
		return // its own lost acquisition, or what it could not release
	}
	if leader.Owner != want.Owner || leader.Fence != want.Fence {
		s.errorf("%s: Leader is %+v, and should be %+v for %v", name, leader, want, now.Sub(since))
	}
}

// counts checks the figures of a candidate. s.mu is locked.
func (s *simulation) counts(p *peer, leads bool, leader setlock.Holder, now election.Stats) {
	before := p.stats
	p.stats = now
	open := now.Terms - ends(now)
	switch {
	case wentBack(before, now) != "":
		s.errorf("%s: %s went back from %+v to %+v", p.name, wentBack(before, now), before, now)
	case open != 0 && !p.working || open != 1 && p.working:
		s.errorf("%s: %d terms have no end, and it works: %v: %+v", p.name, open, p.working, now)
	case now.Leading != leads || now.Leader != leader.Owner || now.Fence != leader.Fence:
		s.errorf("%s: IsLeader %v, Leader %+v, but %+v", p.name, leads, leader, now)
	case now.FailedAttempts > now.Attempts || now.FailedRenewals > now.Renewals || now.Attempts < now.Terms:
		s.errorf("%s: more than all: %+v", p.name, now)
	case now.Leading && (now.Trust > s.trust() || now.Trust <= 0) || !now.Leading && now.Trust != 0:
		s.errorf("%s: trusts for %v: %+v", p.name, now.Trust, now)
	}
}

// forgets checks that a candidate which has heard nothing from the server for longer than any hold
// lasts reports nobody. s.mu is locked.
func (s *simulation) forgets(p *peer, leader setlock.Holder) {
	now := time.Now()
	// Attempts to be elected do not read the watch. Several may follow each other.
	from := now.Add(-s.lease - 2*s.lease - s.slack())
	if leader.Fence == 0 || p.working || p.returned.After(from) || p.machine.asleep(s.lease/6+s.glance()) {
		return
	}
	for _, cut := range [][]span{p.cut, s.cut} {
		for _, w := range cut {
			if w.from.Before(from) && w.to.After(now) {
				s.errorf("%s: Leader is %+v, and it has heard nothing since %v", p.name, leader, now.Sub(w.from))
			}
		}
	}
}

// orphaned checks that a candidate which nothing keeps from it has adopted or undone an
// acquisition whose reply was lost: the key does not stand for nobody. s.mu is locked.
func (s *simulation) orphaned(p *peer, value string) {
	g := s.grants[p.fence]
	if _, owner, _ := strings.Cut(value, ":"); owner != p.name || p.working && g != nil && g.value == value {
		return
	}
	if g := s.values[value]; g == nil || g.at.Before(s.stepped) {
		return // it lives on for longer than its Lock can know
	}
	now := time.Now()
	// A third for the attempt, a step of the pace, and the next attempt.
	from := now.Add(-s.lease * 3 / 4)
	if value == s.holds && s.since.Before(from) && now.Sub(p.returned) > s.slack() && p.calmSince(from, now) && !lately(p.burnt, from) {
		s.errorf("%s: the key stands for its acquisition %q, under which nobody works", p.name, value)
	}
}

// left checks that no acquisition stands whose process has ended properly before it
// came, and whose undo nothing has kept from coming.
func (s *simulation) left(value string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[s.fence]
	if g != nil && g.value == value && !g.used && g.p.gone && !g.p.killed && now.Sub(g.at) > s.slack() &&
		g.p.calmSince(g.at.Add(1), now) && !g.p.stumbled(g.at) {
		s.errorf("%s: the key stands for its acquisition %q, and it has ended", g.p.name, value)
	}
}

// hears checks the story that Changes tells of one Run.
func (s *simulation) hears(p *peer, before, c election.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[c.Fence]
	led := s.grants[p.led]
	late := !before.Leading && c.Err != nil
	wrong := ""
	switch {
	case c.Leading && (before.Leading || g == nil || led != nil && g.n <= led.n || c.Leader != p.name || c.Err != nil):
		wrong = "no beginning of a term"
	case before.Leading && (c.Leader != "" || c.Fence != 0):
		wrong = "no end of a term"
	case late && !p.over:
		wrong = "the end of no term"
	case late && errors.Is(before.Err, setlock.ErrLost) == errors.Is(c.Err, setlock.ErrLost):
		wrong = "neither a failure after a loss nor a loss after the end"
	case c.Time.Before(before.Time):
		wrong = "in the past"
	case c.Fence != 0 && (g == nil || g.p.name != c.Leader):
		wrong = "nobody has led so"
	case g != nil && s.replicas > 0 && !g.confirmed && (c.Leading || p.reaches(g.at, time.Now()) && time.Since(g.at) < s.lease/6):
		wrong = "nobody has confirmed that"
	case c.Fence == 0 && c.Leader != "" && c.Leader != foreign:
		wrong = "nobody has that name"
	case before.Leading && c.Err == nil && p.ctx != nil && context.Cause(p.ctx) != nil && errors.Is(context.Cause(p.ctx), setlock.ErrLost):
		wrong = "not why"
	case c == before:
		wrong = "no change"
	}
	if wrong != "" {
		s.errorf("%s: told %+v after %+v: %s", p.name, c, before, wrong)
	}
	if c.Leading {
		p.led = c.Fence
	}
	p.told, p.over = c, before.Leading
	p.owes = p.owes && !errors.Is(c.Err, errMood)
}
