package election_test

import (
	"cmp"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/setlock/internal/redistest"
)

type soakEvent struct {
	at time.Duration
	do func()
}

// later has do called after d, or when calm begins.
func (s *soak) later(d time.Duration, do func()) {
	s.events = append(s.events, soakEvent{s.now + d, do})
	slices.SortStableFunc(s.events, func(a, b soakEvent) int { return cmp.Compare(a.at, b.at) })
}

// troubles does things to the world for d. The first two are done to a leader that suffers nothing
// else: one leader loses its key, and the next its network. So each round measures how soon a leader
// learns of a loss, and its margin.
func (s *soak) troubles(d time.Duration) {
	end := s.now + d
	for n := 0; s.now < end && !s.t.Failed(); n++ {
		s.mu.Lock()
		s.quiet = n < 2
		s.mu.Unlock()
		next := min(s.now+s.trouble(n), end)
		for len(s.events) > 0 && s.events[0].at <= next {
			event := s.events[0]
			s.events = s.events[1:]
			time.Sleep(event.at - s.now)
			s.now = event.at
			event.do()
		}
		time.Sleep(next - s.now)
		s.now = next
	}
}

// trouble does the nth thing of a round. It returns the time until the next. It draws all luck before
// it looks at the state of the world, and each step has luck of its own.
func (s *soak) trouble(n int) (pause time.Duration) {
	s.steps++
	luck := rand.New(rand.NewPCG(s.seed, s.steps))
	p := s.peers[luck.IntN(len(s.peers))]
	atLeader := luck.IntN(3) > 0
	howLong := time.Duration(luck.ExpFloat64() * float64(s.lease))
	which, cut, what := luck.IntN(7), luck.IntN(4), luck.IntN(28)
	longer := luck.IntN(2) == 0
	pause = time.Duration(luck.ExpFloat64() * float64(s.lease) / 3)
	fault := []struct {
		kind   string
		faults redistest.Faults
	}{
		{"silence", redistest.Silent},
		{"requests held", redistest.Faults{HoldRequests: true}},
		{"replies held", redistest.Faults{HoldReplies: true}},
		{"replies lost", redistest.Faults{LoseReplies: true}},
		{"refusal", redistest.Faults{Refuse: true}},
		{"short delay", redistest.Faults{Delay: howLong / 20}},
		{"delay", redistest.Faults{Delay: howLong}},
	}
	if s.down {
		what %= 12 // nobody would hear of the others
	}
	switch n {
	case 0:
		what = 18
		pause += s.lease
	case 1:
		what = 24
	}
	leader := s.leader()
	if leader != nil && (atLeader || what >= 24) { // it has the most to lose
		p = leader
	}
	of := func(kind string) { s.faults[kind]++ }
	away := func(leave, back func()) {
		over := s.illness(&s.ill)
		s.down = true
		leave()
		s.later(howLong, func() {
			back()
			s.down = false
			over()
		})
	}
	switch what {
	case 0, 1, 2, 3, 4:
		of(fault[which].kind)
		if longer && p == leader {
			howLong += s.lease // it shall feel it
		}
		s.later(howLong, p.suffer(fault[which].faults))
	case 5, 6:
		of(fault[which].kind + " for all")
		for _, p := range s.peers {
			s.later(howLong, p.suffer(fault[which].faults))
		}
	case 7:
		of("reset")
		over := s.illness(&p.ill)
		p.network.Reset()
		over()
	case 8, 9:
		if leader != nil {
			of("resignation")
			s.mu.Lock()
			e := leader.e
			s.mu.Unlock()
			e.Resign()
		}
	case 10:
		of("restart")
		p.end()
		p.begin()
	case 11: // what it sent arrives or not, its lock expires
		of("kill")
		heal := p.suffer(redistest.Silent)
		p.end()
		p.network.Reset()
		heal()
		p.begin()
	case 12, 13:
		of("SIGSTOP")
		away(s.server.Pause, s.server.Continue)
	case 14, 15:
		of("kill -9, back with data")
		away(s.server.Kill, s.restart)
	case 16:
		of("kill -9, back without")
		away(func() {
			s.lose(func() {
				s.server.Kill()
				if err := os.RemoveAll(filepath.Join(s.dir, "appendonlydir")); err != nil {
					s.errorf("%v", err)
				}
			})
		}, s.restart)
	case 17:
		of("FLUSHALL")
		s.lose(func() { s.ask("FLUSHALL") })
	case 18:
		of("DEL")
		s.lose(func() { s.ask("DEL", "k") })
	case 19:
		of("theft")
		s.lose(func() { s.ask("SET", "k", "foreign", "PX", howLong.Milliseconds()+1) })
	case 20:
		of("CLIENT PAUSE")
		away(func() { s.ask("CLIENT", "PAUSE", howLong.Milliseconds()+1) }, func() { s.ask("CLIENT", "UNPAUSE") })
	case 21:
		of("CLIENT KILL normal")
		over := s.illness(&s.ill)
		s.ask("CLIENT", "KILL", "TYPE", "normal")
		over()
	case 22:
		of("CLIENT KILL pubsub")
		s.ask("CLIENT", "KILL", "TYPE", "pubsub")
	case 23:
		of("SCRIPT FLUSH")
		s.ask("SCRIPT", "FLUSH")
	default: // until it has lost, with nothing else going wrong meanwhile
		of("parted")
		s.later(s.lease+howLong, p.suffer(fault[cut].faults))
		pause += s.lease
	}
	return pause
}

// restart restarts the server, and waits until it has loaded its data.
func (s *soak) restart() {
	s.server.Restart()
	for {
		_, err := ask(s.server.Addr, 10*time.Second, "GET", "k")
		if err == nil || !strings.HasPrefix(err.Error(), "LOADING") {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// calm ends all troubles and measures how long nobody leads. A lease later, nobody loses.
func (s *soak) calm() {
	s.mu.Lock()
	s.quiet = true
	s.mu.Unlock()
	for _, event := range s.events {
		event.do()
	}
	s.events = nil
	for _, p := range s.peers {
		p.network.Set(redistest.Faults{})
	}
	s.ask("EVAL", "return redis.call('GET', KEYS[1]) == 'foreign' and redis.call('DEL', KEYS[1])", 1, "k")
	s.calms++
	start := time.Now()
	// The bound: a dead holder's lease, a step of the pace, and two attempts on connections on which
	// no reply comes.
	s.awaitLeader(start, 4*s.lease)
	slow := s.probe(s.lease)
	s.awaitLeader(time.Now(), 5*slow)
	still := time.Now()
	slow = s.probe(s.lease)
	s.mu.Lock()
	defer s.mu.Unlock()
	if late := s.stalls.since(still) + slow; late < s.lease/3 {
		for _, at := range s.lost {
			if at.After(still) {
				s.errorf("lost in calm, with stalls of %v", late)
			}
		}
	}
	s.lost = nil
}

// probe writes for d, and returns how long the slowest write took. The server, or its disk, may be
// starved too.
func (s *soak) probe(d time.Duration) (slowest time.Duration) {
	for start := time.Now(); time.Since(start) < d; time.Sleep(s.lease / 20) {
		sent := time.Now()
		s.ask("SET", "probe", "x")
		slowest = max(slowest, time.Since(sent))
	}
	return slowest
}

// awaitLeader waits until a candidate leads.
func (s *soak) awaitLeader(start time.Time, bound time.Duration) {
	for s.leader() == nil {
		gap, late := time.Since(start), s.stalls.since(start)
		if gap > 10*s.lease+late {
			s.errorf("nobody leads %v after calm", gap)
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	gap := time.Since(start)
	s.gap = max(s.gap, gap)
	if late := s.stalls.since(start); gap > bound+s.lease/10+5*late {
		s.errorf("nobody led for %v after calm, want %v, with a stall of %v", gap, bound, late)
	}
}
