package election_test

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/redistest"
)

// What the server sees, and what can happen to it.

// hook sees each command, those of scripts too, before the server runs it.
func (s *simulation) hook(c *server.Peer, cmd string, args ...string) bool {
	now := time.Now()
	switch cmd {
	case "CLIENT": // see dial
		s.introduced(c, args[1])
		c.WriteOK()
		return true
	case "EVAL", "EVALSHA", "SUBSCRIBE", "PING": // what clients send
		s.tick()
		if answer := s.refuses(c, cmd, args); answer != "" {
			c.WriteError(answer)
			return true
		}
		return cmd == "SUBSCRIBE" && s.ends(c, args)
	case "UNSUBSCRIBE":
		s.unsubscribed(c, args)
	case "WAIT":
		s.replicate(c, args)
		return true
	case "PUBLISH":
		s.announces(args)
	case "SET":
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.full {
			c.WriteError("OOM command not allowed when used memory > 'maxmemory'.")
			return true
		}
		if s.companionWrites(args[0], args[1]) {
			return false
		}
		if args[0] == fenceKey {
			fence, _ := strconv.ParseInt(args[1], 10, 64)
			if fence <= s.fence {
				s.errorf("the fence %d was given after %d", fence, s.fence)
			}
			s.fence = fence
			return false
		}
		_, owner, _ := strings.Cut(args[1], ":")
		s.given++
		g := &grant{p: s.names[owner], n: s.given, fence: s.fence, value: args[1], at: now}
		s.grants[s.fence], s.values[g.value] = g, g
		s.holds = args[1]
		s.taken(g)
	case "DEL":
		s.mu.Lock()
		if s.companionReleases(args[0]) {
			s.mu.Unlock()
			return false
		}
		value := s.holds
		s.holds = ""
		g := s.values[value]
		if g != nil && !g.announced && now.Sub(g.at) > s.lease/12 {
			s.told, s.toldAt = unknown, now // some may know of it
		}
		if g != nil && g.used {
			s.released(g)
		}
		var p *peer
		for _, q := range s.peers {
			if g := s.grants[q.fence]; g != nil && g.value == value && q.working && !q.killed {
				p = q
			}
		}
		s.mu.Unlock()
		if p != nil {
			s.errorf("%s: released while its work goes on", p.name)
		}
		for _, p := range s.alive() {
			h := p.e.Leader()
			s.mu.Lock()
			g := s.grants[h.Fence]
			if g != nil && g.p == p && g.used && g.value == value {
				s.errorf("%s: released before Changes said that %d is over", p.name, h.Fence)
			}
			s.mu.Unlock()
		}
	}
	return false
}

// announces notes what everybody is told.
func (s *simulation) announces(args []string) {
	if args[0] != lockChannel {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	told := ""
	if fields := strings.SplitN(args[1], " ", 5); fields[0] == "acquired" && len(fields) == 5 {
		told = fields[4]
		if g := s.values[told]; g != nil {
			g.announced = true
		}
	}
	s.told, s.toldAt = told, time.Now()
}

func (s *simulation) errors(_ *peer, d time.Duration) {
	answer := []string{
		"READONLY x", "LOADING x", "CLUSTERDOWN x", "MASTERDOWN x", "MISCONF x", "NOAUTH x", "BUSY x",
	}[s.rand.IntN(7)]
	s.answersBadly(d, false)
	s.set(func() { s.answer = answer })
	s.after(d, func() { s.set(func() { s.answer = "" }) })
}

func (s *simulation) outOfMemory(_ *peer, d time.Duration) {
	s.answersBadly(d, false)
	s.set(func() { s.full = true })
	s.after(d, func() { s.set(func() { s.full = false }) })
}

func (s *simulation) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// restart has the server go away for d. What was on its way to it is lost, and so is
// what it did not keep.
func (s *simulation) restart(d time.Duration, data func()) {
	s.partition(nil, d, redistest.Faults{Refuse: true})
	s.reset(nil)
	wait()
	s.flushScripts()
	data()
}

func (s *simulation) flushScripts() {
	conn, err := s.server.Dial(s.t.Context())
	if err != nil {
		s.errorf("dial: %v", err)
		return
	}
	defer conn.Close()
	if _, err := redis.NewConn(conn, 0, 0).Do("SCRIPT", "FLUSH"); err != nil {
		s.errorf("SCRIPT FLUSH: %v", err)
	}
}

// serverTime is what the clock of the server shows.
func (s *simulation) serverTime() time.Time {
	s.clock.Lock()
	defer s.clock.Unlock()
	return time.Now().Add(s.clock.ahead)
}

// tick has the server see its clock: without that it shows the time of the last tick.
func (s *simulation) tick() {
	s.clock.Lock()
	defer s.clock.Unlock()
	s.server.SetTime(time.Now().Add(s.clock.ahead))
}

// serverForward steps the clock of the server: keys expire early by that. Sometimes by
// hours, so that the fence key expires too.
func (s *simulation) serverForward(_ *peer, d time.Duration) {
	s.key() // what has expired until now, has
	s.excuse()
	s.upsetCompanions()
	if s.rand.IntN(4) == 0 {
		d += 3 * time.Hour
	}
	s.stepServer(d)
}

// fencesDown has the server lose its data, and its clock be set back to before the
// beginning: nobody promises then that fences increase.
func (s *simulation) fencesDown(_ *peer, d time.Duration) {
	s.flush()
	s.clock.Lock()
	if s.clock.least.IsZero() {
		s.clock.least = s.began
	}
	s.clock.least = s.clock.least.Add(-24*time.Hour - d)
	back := time.Now().Add(s.clock.ahead).Sub(s.clock.least)
	s.clock.Unlock()
	s.shots = nil
	s.set(func() {
		s.fence = 0
		for _, l := range s.locks {
			l.fence = 0
		}
	})
	s.stepServer(-back)
}

// canStepBack reports whether every fence key has the last fence: if not, nobody promises
// anything of the next when the clock of the server steps back.
func (s *simulation) canStepBack(_ *peer) bool {
	s.tick()
	fences := make(map[string]string)
	for _, key := range s.keys() {
		fences[key], _ = s.server.Get(key)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.locks {
		if l.fence != 0 && fences["{"+key+"}:fence"] != fmt.Sprint(l.fence) {
			return false
		}
	}
	return fences[fenceKey] == fmt.Sprint(s.fence)
}

// serverBack steps the clock of the server: keys live longer by that.
func (s *simulation) serverBack(_ *peer, d time.Duration) {
	s.key() // what has expired until now, has
	s.stepServer(-d)
	s.set(func() { s.stepped = time.Now() })
	for _, key := range s.keys() {
		if left := s.server.TTL(key); left > 0 {
			s.server.SetTTL(key, left+d)
		}
	}
}

func (s *simulation) stepServer(d time.Duration) {
	s.clock.Lock()
	s.clock.ahead += d
	s.clock.Unlock()
	s.tick()
}

// scriptOf returns the name of the script that a request calls, "" for none.
func scriptOf(request []byte) string {
	lines := strings.SplitN(string(request), "\r\n", 6)
	if len(lines) < 6 || !strings.HasPrefix(lines[2], "EVAL") {
		return ""
	}
	return protocol.NameOf(lines[4])
}
