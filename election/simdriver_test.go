package election_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/redistest"
)

// A simulation is a driver, which does things to the world, and a judge.
type simulation struct {
	t      *testing.T
	seed   uint64
	lease  time.Duration
	server *redistest.Embedded
	calm   chan struct{} // closed when the troubles are over

	replicas int           // of the server: so many must confirm
	latency  time.Duration // of every way from or to the server, at most
	jitter   time.Duration // what the ways from it take besides, at most

	// Of the driver.
	end    time.Time  // of the troubles
	rand   *rand.Rand // of the present step
	slots  []*peer    // nil: the process has yet to come back
	lives  int
	queue  []event
	faults []*redistest.Faults // of all networks
	shots  []snapshot
	looker *onlooker // nil: there is none

	companions int // of each process

	clock struct {
		sync.Mutex
		ahead time.Duration // of the server
		least time.Time     // what it has shown, where that is earlier than the beginning
	}

	mu      sync.Mutex
	peers   []*peer // all lives of all
	names   map[string]*peer
	grants  map[int64]*grant // by fence
	values  map[string]*grant
	given   int       // how many
	fence   int64     // the last that was given
	holds   string    // what stands in the key as far as scripts have written it
	told    string    // what stands in the key as far as announced
	toldAt  time.Time // since when
	hand    *handover // a leader has resigned, and no candidate has acquired since
	dials   int
	fresh   map[string]*link // by name, until the server knows it
	links   map[*server.Peer]*link
	flaps   int           // troubles that end every connection that subscribes
	upset   time.Time     // when something was last done in which replicas have no part
	away    int           // troubles in which no replica confirms anything
	back    chan struct{} // closed when they do again; nil when they do
	seen    string        // what stands in the key
	since   time.Time     // since when
	answer  string        // the error with which the server answers everything
	full    bool          // the server refuses what takes memory
	stepped time.Time     // when the clock of the server was last set back
	events  []time.Time   // when the key was taken from its holder
	wrong   []span        // what was wrong with all candidates, and when
	cut     []span        // when all of them heard nothing from the server
	sum     *summary

	locks     map[string]*companionLock // by key
	upheavals []time.Time               // when the keys of all companions were lost, or were to expire early

	storyMu sync.Mutex
	began   time.Time
	story   []string
}

// step begins step n, whose luck does not depend on what came before.
func (s *simulation) step(n uint64) { s.rand = rand.New(rand.NewPCG(s.seed, n)) }

// An event is what is to happen later.
type event struct {
	at      time.Time
	f       func()
	trouble bool // it ends a trouble: at the end of all of them, at once
	quiet   bool // that is one of replicas alone
}

// after has the driver call f later, which ends a trouble.
func (s *simulation) after(d time.Duration, f func()) {
	s.queue = append(s.queue, event{at: time.Now().Add(d), f: f, trouble: true})
}

// wait waits until everything has happened that takes no time.
func wait() { synctest.Wait() }

// live lets time pass, with what happens in it, and checks ten times a lease.
func (s *simulation) live(d time.Duration) {
	end := time.Now().Add(d)
	for !s.t.Failed() {
		next := time.Now().Add(s.lease / 10)
		if next.After(end) {
			next = end
		}
		due := -1
		for i, e := range s.queue {
			if e.at.Before(next) {
				due, next = i, e.at
			}
		}
		time.Sleep(time.Until(next))
		wait()
		s.check()
		if due >= 0 {
			if !s.queue[due].quiet {
				s.disturb()
			}
			f := s.queue[due].f
			s.queue = slices.Delete(s.queue, due, due+1)
			f()
			wait()
			s.check()
		} else {
			s.shoot()
			if next.Equal(end) {
				return
			}
		}
	}
}

// seeEnds looks for processes that have ended.
func (s *simulation) seeEnds() {
	for _, p := range s.alive() {
		select {
		case <-p.done:
		default:
			continue
		}
		s.set(func() { p.gone = true })
		if !p.leaving {
			s.note("%s: panicked", p.name)
			s.replace(p, s.lease/10)
		}
		s.queue = append(s.queue, event{at: time.Now().Add(undoTime + p.machine.sleeps()), f: p.bury})
	}
}

// undoTime is within which an acquisition is undone that the end of Run has interrupted.
const undoTime = 2*time.Second + 5*time.Millisecond

// alive returns the processes that have neither ended nor been killed.
func (s *simulation) alive() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	var alive []*peer
	for _, p := range s.peers {
		if !p.killed && !p.gone {
			alive = append(alive, p)
		}
	}
	return alive
}

// lull ends all troubles. A lease later somebody leads, and one alone, for good.
func (s *simulation) lull() {
	queue := s.queue
	s.queue = nil
	for _, e := range queue {
		if e.trouble {
			e.f()
		} else {
			s.queue = append(s.queue, e)
		}
	}
	now := time.Now()
	s.mu.Lock()
	for _, p := range s.peers {
		for i := range p.wrong {
			p.wrong[i].to = earlier(p.wrong[i].to, now)
		}
		for i := range p.cut {
			p.cut[i].to = earlier(p.cut[i].to, now)
		}
	}
	for i := range s.wrong {
		s.wrong[i].to = earlier(s.wrong[i].to, now)
	}
	for i := range s.cut {
		s.cut[i].to = earlier(s.cut[i].to, now)
	}
	s.mu.Unlock()
	close(s.calm)
	wait()
	// Until whoever left the key has lost it, or until those who follow ask again
	// because nobody announced that it has gone. Then they are there at once.
	value, left := s.key()
	bound := max(left, s.lease) + s.slack()
	if s.haunted() { // by connections that each cost an attempt
		bound += s.lease / 2
	}
	s.note("calm, the key holds %q for %v", value, left)
	s.live(bound)
	if s.t.Failed() {
		return
	}
	leads := func() (leader *peer) {
		var leaders []string
		for _, p := range s.alive() {
			if p.e.IsLeader() {
				leader = p
				leaders = append(leaders, p.name)
			}
		}
		if len(leaders) != 1 {
			s.errorf("%v lead %v after calm", leaders, time.Since(now))
		}
		return leader
	}
	leader := leads()
	if leader == nil {
		return
	}
	s.mu.Lock()
	fence := leader.fence
	if left <= s.lease {
		s.sum.leader = max(0, float64(leader.start.Sub(now))/float64(s.lease))
	}
	s.mu.Unlock()
	s.live(2 * s.lease)
	if p := leads(); p != nil && (p != leader || p.e.Leader().Fence != fence) {
		s.errorf("%s leads with %d, and no longer %s with %d, though nothing has happened", p.name, p.e.Leader().Fence, leader.name, fence)
	}
	s.settleCompanions()
}

// farewell ends all processes, of which nothing is left then.
func (s *simulation) farewell() {
	if s.looker != nil {
		s.looker.leave()
	}
	alive := s.alive()
	for _, p := range alive {
		p.leave()
	}
	wait()
	for _, p := range alive {
		select {
		case <-p.done:
		case <-time.After(s.lease):
			s.errorf("%s: does not end", p.name)
			<-p.done // or not, which is fatal
		}
	}
	time.Sleep(s.slack())
	for _, e := range s.queue {
		e.f() // burials, for enough time has passed
	}
	if value, left := s.key(); value != "" && !s.t.Failed() {
		s.errorf("the key holds %q for %v after all have ended", value, left)
	}
	for key := range s.locks {
		if value, _ := s.server.Get(key); value != "" && !s.t.Failed() {
			s.errorf("%s holds %q after all have ended", key, value)
		}
	}
	time.Sleep(undoTime)
	for _, p := range alive {
		p.bury()
	}
}
