package election_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"example.com/setlock/setlock"
)

// What the judge checks of companions. Each has its own key, and its own Lease.

// companionLock returns the lock of which key is the lock key or the fence key, nil for none of
// companions. s.mu is locked.
func (s *simulation) companionLock(key string) (l *companionLock, isFence bool) {
	name, isFence := strings.CutSuffix(key, "}:fence")
	if isFence {
		name = strings.TrimPrefix(name, "{")
	}
	return s.locks[name], isFence
}

// keys returns the lock key and the fence key of every lock.
func (s *simulation) keys() []string {
	keys := []string{lockKey, fenceKey}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.locks {
		keys = append(keys, key, "{"+key+"}:fence")
	}
	return keys
}

// companionWrites notes that a script writes value into a key of companions. It returns false for any
// other key. s.mu is locked.
func (s *simulation) companionWrites(key, value string) bool {
	l, isFence := s.companionLock(key)
	switch {
	case l == nil:
		return false
	case isFence:
		fence, _ := strconv.ParseInt(value, 10, 64)
		if fence <= l.fence {
			s.errorf("%s: the fence %d was given after %d", key, fence, l.fence)
		}
		l.fence = fence
	default:
		l.holds = value
		l.grants[l.fence] = &companionGrant{value, time.Now()}
	}
	return true
}

// companionReleases checks that a companion which works has not released its lock. It returns false for
// any other key. s.mu is locked.
func (s *simulation) companionReleases(key string) bool {
	l, _ := s.companionLock(key)
	if l == nil {
		return false
	}
	for _, p := range s.peers {
		for _, c := range p.companions {
			g := l.grants[c.fence]
			if c.lock.Key == key && c.working && !p.killed && g != nil && g.value == l.holds {
				s.errorf("%s: released while its work goes on", c.name)
			}
		}
	}
	l.holds = ""
	return true
}

// upsetCompanions notes that the keys of all companions may be gone, or expire early.
// Nobody announces that.
func (s *simulation) upsetCompanions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.upheavals) > 0 && now.Sub(s.upheavals[0]) > 4*s.lease {
		s.upheavals = s.upheavals[1:]
	}
	s.upheavals = append(s.upheavals, now)
	for _, l := range s.locks {
		l.holds = ""
	}
}

// companionKey returns what the lock key of c has, and for how long.
func (s *simulation) companionKey(c *companion) (string, time.Duration) {
	s.tick()
	value, _ := s.server.Get(c.lock.Key)
	return value, s.server.TTL(c.lock.Key)
}

// stands returns why c must not believe in its hold, "" if it may: the key is its own and
// will be for the margin, or was taken from it so lately that it need not know.
// simulation.mu is locked.
func (c *companion) stands(value string, left time.Duration) string {
	s := c.p.s
	g := s.locks[c.lock.Key].grants[c.fence]
	switch {
	case g == nil:
		return "nobody gave it that fence"
	case value == g.value && left >= c.lease/10-time.Millisecond:
		return ""
	}
	now := time.Now()
	for _, at := range s.upheavals {
		bound := c.lease - c.lease/10
		if c.p.calmSince(at.Add(-c.lease/3), now) {
			bound = c.lease/3 + c.lease/20 + s.slack() // until a renewal tells it
		}
		if !g.at.After(at) && now.Sub(at) <= bound {
			return ""
		}
	}
	if value == g.value {
		return fmt.Sprintf("%v of its key is left, with a lease of %v", left, c.lease)
	}
	return fmt.Sprintf("the key holds %q", value)
}

// believes reports whether c works and its context lives. simulation.mu is locked.
func (c *companion) believes() bool { return c.ctx != nil && c.ctx.Err() == nil && !c.p.killed }

// asleep reports whether the machine of c sleeps, or has woken up so lately that c need not know.
func (c *companion) asleep() bool { return c.p.machine.asleep(c.lease/20 + time.Millisecond) }

// companionBegins is called by the work of c when it begins.
func (s *simulation) companionBegins(ctx context.Context, c *companion, fence int64) {
	value, left := s.companionKey(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum.sessions++
	s.note("%s holds %s for %v with %d", c.name, c.lock.Key, c.lease, fence)
	if g := s.locks[c.lock.Key].grants[fence]; g == nil || !strings.HasSuffix(g.value, ":"+c.name) || c.working {
		s.errorf("%s: works %v, and holds its lock with the fence %d, which is not its own: %+v", c.name, c.working, fence, g)
	}
	c.ctx, c.fence, c.working = ctx, fence, true
	for _, p := range s.peers {
		for _, d := range p.companions {
			if d.lock.Key != c.lock.Key || !d.believes() || d.asleep() {
				continue
			}
			if why := d.stands(value, left); why != "" {
				s.errorf("%s believes in %d when %s holds %s with %d: %s", d.name, d.fence, c.name, c.lock.Key, fence, why)
			}
		}
	}
}

// companionEnds is called by the work of c when its context has ended, before it returns.
func (s *simulation) companionEnds(ctx context.Context, c *companion) {
	value, left := s.companionKey(c)
	cause := context.Cause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.p.killed {
		return
	}
	s.note("%s: the context of %d ended: %v", c.name, c.fence, cause)
	if !errors.Is(cause, setlock.ErrLost) || c.asleep() {
		return
	}
	s.sum.sessionsLost++
	if why := c.stands(value, left); why != "" {
		s.errorf("%s: when its context ended, %s: %v", c.name, why, cause)
	}
	if g := s.locks[c.lock.Key].grants[c.fence]; g == nil || value != g.value {
		return
	}
	if left >= c.lease/10-time.Millisecond {
		s.sum.margin = min(s.sum.margin, float64(left)/float64(c.lease))
	}
	now := time.Now()
	wrong := c.p.troubled(now.Add(-c.lease*13/10), now)
	if len(wrong) == 0 || len(wrong) == 1 && wrong[0].to.Sub(wrong[0].from) < c.lease/3 {
		s.errorf("%s: lost its lock of a lease of %v for %v: %v", c.name, c.lease, wrong, cause)
	}
}

// checkCompanions holds at every step.
func (s *simulation) checkCompanions(p *peer) {
	for _, c := range p.companions {
		value, left := s.companionKey(c)
		s.mu.Lock()
		if c.believes() && !c.asleep() {
			if why := c.stands(value, left); why != "" {
				s.errorf("%s believes in %d: %s", c.name, c.fence, why)
			}
		}
		s.mu.Unlock()
	}
}

// settleCompanions checks, some leases after the troubles, that each lock is held by one companion.
func (s *simulation) settleCompanions() {
	believers := func(key string) (names []string) {
		for _, p := range s.alive() {
			for _, c := range p.companions {
				s.mu.Lock()
				if c.lock.Key == key && c.believes() {
					names = append(names, c.name)
				}
				s.mu.Unlock()
			}
		}
		return names
	}
	// Until the process that left a key has lost it, and its followers have asked: they may
	// have old connections that each cost an attempt.
	late := time.Duration(0)
	for key := range s.locks {
		if len(believers(key)) == 0 {
			late = max(late, s.server.TTL(key)+4*s.lease)
		}
	}
	s.live(late)
	for key := range s.locks {
		if names := believers(key); len(names) != 1 {
			s.errorf("%v hold %s long after calm", names, key)
		}
	}
}
