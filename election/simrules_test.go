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
	if p.working || !p.calmSince(now.Add(-s.lease*3/2), now) || now.Before(p.began.Add(s.lease)) {
		return
	}
	bound := s.lease + slack // when nobody announces it
	if value == s.told && !p.deaf && now.Sub(p.returned) > 2*s.lease {
		bound = s.lease/10 + slack
	}
	if now.Sub(s.since) <= bound {
		return
	}
	want := setlock.Holder{}
	if nonce, owner, ours := strings.Cut(value, ":"); ours && len(nonce) > 0 {
		want.Owner = owner
		want.Fence, _ = strconv.ParseInt(fence, 10, 64)
	} else if value != "" {
		want.Owner = value
	}
	if want.Owner == p.name {
		return // its own lost acquisition, or what it could not release
	}
	if leader.Owner != want.Owner || leader.Fence != want.Fence {
		s.errorf("%s: Leader is %+v, and should be %+v for %v", p.name, leader, want, now.Sub(s.since))
	}
}

// orphaned checks that a candidate which nothing keeps from it has adopted or undone an
// acquisition whose reply was lost: the key does not stand for nobody. s.mu is locked.
func (s *simulation) orphaned(p *peer, value string) {
	g := s.grants[p.fence]
	if _, owner, _ := strings.Cut(value, ":"); owner != p.name || p.working && g != nil && g.value == value {
		return
	}
	now := time.Now()
	// A third for the attempt, a step of the pace, and the next attempt.
	if long := s.lease * 3 / 4; value == s.told && now.Sub(s.since) > long && p.calmSince(now.Add(-long), now) {
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
	if g != nil && g.value == value && !g.used && g.p.gone && !g.p.killed && g.p.calmSince(g.at.Add(1), now) {
		s.errorf("%s: the key stands for its acquisition %q, and it has ended", g.p.name, value)
	}
}

// hears checks the story that Changes tells of one Run.
func (s *simulation) hears(p *peer, before, c election.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[c.Fence]
	wrong := ""
	switch {
	case c.Leading && (before.Leading || c.Fence <= p.led || c.Leader != p.name || c.Err != nil):
		wrong = "no beginning of a term"
	case before.Leading && (c.Leader != "" || c.Fence != 0):
		wrong = "no end of a term"
	case !before.Leading && c.Err != nil:
		wrong = "the end of no term"
	case c.Time.Before(before.Time):
		wrong = "in the past"
	case c.Fence != 0 && (g == nil || g.p.name != c.Leader):
		wrong = "nobody has led so"
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
	p.told = c
}
