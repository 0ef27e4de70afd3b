package election_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

var (
	simSeeds = flag.Int("sim.seeds", 8, "how many simulations to run")
	simSeed  = flag.Uint64("sim.seed", 0, "run the simulation of this seed only")
	simTime  = flag.Duration("sim.time", 15*time.Minute, "virtual time of troubles in each simulation")
	simPeers = flag.Int("sim.candidates", 10, "how many candidates take part")
)

// TestSimulation has candidates live through random faults, in virtual time. The
// seed decides what happens to them and when; how goroutines take turns is
// up to the runtime.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		simulate(t, *simSeed)
		return
	}
	var sum struct{ terms, overlaps int }
	for seed := range uint64(*simSeeds) {
		s := simulate(t, seed+1)
		sum.terms += s.terms
		sum.overlaps += s.overlaps
		if t.Failed() {
			t.Fatalf("seed %d failed; go test ./election -run TestSimulation -sim.seed %[1]d runs it again", seed+1)
		}
	}
	t.Logf("%d simulations of %v with %d candidates: %d terms, overlaps 0, with data lost or stolen %d",
		*simSeeds, *simTime, *simPeers, sum.terms, sum.overlaps)
}

// A simulation is the judge of what the candidates do.
type simulation struct {
	t      *testing.T
	seed   uint64
	rand   *rand.Rand // of the driver alone
	server *redistest.Embedded
	peers  []*peer

	mu       sync.Mutex
	fences   map[int64]string // by whom
	last     int64            // the greatest of fences
	excused  time.Time        // until when a believer may not know of stolen or lost data
	terms    int
	overlaps int
}

// A peer is one candidate, and what its work knows.
type peer struct {
	s       *simulation
	name    string
	network *redistest.Network
	clock   *peerClock // of the machine it runs on; a restart gets another
	e       *election.Election
	stop    context.CancelFunc
	done    chan struct{}

	// Guarded by simulation.mu.
	ctx     context.Context // of its work, nil when it does not work
	machine *peerClock      // on which it works
	fence   int64
	working bool
	mood    *rand.Rand
}

const simLease = 3 * time.Second

func simulate(t *testing.T, seed uint64) *simulation {
	s := &simulation{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), fences: make(map[int64]string)}
	synctest.Test(t, func(t *testing.T) {
		s.t = t
		s.server = redistest.NewEmbedded(t)
		redistest.Do(t, s.server.Dial, "PING")
		s.hook()
		for i := range *simPeers {
			p := &peer{s: s, name: fmt.Sprintf("c%d", i), mood: rand.New(rand.NewPCG(seed, uint64(i)+2))}
			s.peers = append(s.peers, p)
		}
		for _, p := range s.peers {
			p.begin()
		}
		for end := time.Now().Add(*simTime); time.Now().Before(end) && !t.Failed(); {
			time.Sleep(time.Duration(s.rand.ExpFloat64() * float64(simLease)))
			s.trouble()
		}
		s.calm()
		for _, p := range s.peers {
			p.end()
		}
	})
	return s
}

func (s *simulation) errorf(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf("seed %d: %s", s.seed, fmt.Sprintf(format, args...))
}

// hook watches for a release of a lock under which somebody works.
func (s *simulation) hook() {
	s.server.Server().SetPreHook(func(_ *server.Peer, cmd string, args ...string) bool {
		if !strings.HasPrefix(cmd, "EVAL") || len(args) < 5 || args[1] != "1" {
			return false
		}
		held, _ := s.server.Get("k")
		fence, _ := s.server.Get("{k}:fence")
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, value := range args[4:] {
			for _, p := range s.peers {
				if value == held && strings.HasSuffix(value, ":"+p.name) && p.working && fence == fmt.Sprint(p.fence) {
					s.errorf("%s: released while its work goes on", p.name)
				}
			}
		}
		return false
	})
}

// begin starts a candidate, as a new process does.
func (p *peer) begin() {
	s := p.s
	p.network = redistest.NewNetwork(s.t, s.server.Dial)
	machine := &peerClock{timers: make(map[*peerTimer]struct{})}
	p.clock = machine
	p.e = candidate(s.t, p.network.Dial, p.name, func(ctx context.Context) error { return p.work(ctx, machine) })
	p.e.Lock.Lease = simLease
	p.done = make(chan struct{})
	ctx, cancel := context.WithCancel(clock.NewContext(s.t.Context(), p.clock))
	p.stop = cancel
	changes := p.e.Changes()
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(changes)
	}()
	go func() {
		defer close(p.done)
		defer func() { <-read }()
		for ctx.Err() == nil {
			func() {
				defer func() {
					if r := recover(); r != nil && r != "mood" {
						panic(r)
					}
				}()
				if err := p.e.Run(ctx); err != nil {
					s.errorf("%s: Run: %v", p.name, err)
				}
			}()
		}
	}()
}

// end stops a candidate and waits until nothing of it is left.
func (p *peer) end() {
	p.network.Set(redistest.Faults{})
	p.stop()
	<-p.done
}

// read checks the story that Changes tells of one Run.
func (p *peer) read(changes <-chan election.Change) {
	var before election.Change
	var led int64
	for c := range changes {
		switch {
		case c.Leading && (before.Leading || c.Fence <= led || c.Leader != p.name || c.Err != nil):
			p.s.errorf("%s: told %+v after %+v", p.name, c, before)
		case before.Leading && !c.Leading && c.Leader != "":
			p.s.errorf("%s: told %+v after %+v", p.name, c, before)
		case c.Time.Before(before.Time):
			p.s.errorf("%s: told of %v after %v", p.name, c.Time, before.Time)
		}
		if c.Leading {
			led = c.Fence
		}
		before = c
	}
	if before.Leading {
		p.s.errorf("%s: its story ends with %+v", p.name, before)
	}
}

// work is OnElected: the judge of who may believe.
func (p *peer) work(ctx context.Context, machine *peerClock) error {
	s := p.s
	fence, _ := setlock.FenceFromContext(ctx)
	s.mu.Lock()
	s.terms++
	excused := time.Now().Before(s.excused)
	if by, taken := s.fences[fence]; taken {
		s.errorf("%s has the fence %d of %s", p.name, fence, by)
	}
	s.fences[fence] = p.name
	if fence <= s.last && !excused {
		s.errorf("%s has the fence %d after %d", p.name, fence, s.last)
	}
	s.last = max(s.last, fence)
	for _, other := range s.peers {
		if other.ctx == nil || other.ctx.Err() != nil || other.machine.asleep() {
			continue
		}
		if !excused {
			s.errorf("%s is elected with %d while %s believes with %d", p.name, fence, other.name, other.fence)
		}
		s.overlaps++
	}
	if p.working {
		s.errorf("%s works twice", p.name)
	}
	p.ctx, p.machine, p.fence, p.working = ctx, machine, fence, true
	mood := p.mood.Float64()
	linger := time.Duration(p.mood.ExpFloat64() * float64(simLease) / 4)
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { s.lost(p.name, machine, ctx, fence) })
	defer stop()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.ctx, p.working = nil, false
	}()
	switch {
	case mood < 0.05:
		return errors.New("mood")
	case mood < 0.1:
		panic("mood")
	case mood < 0.2: // a while of work, and that is it
		select {
		case <-ctx.Done():
		case <-time.After(linger):
		}
		return nil
	case mood < 0.4: // ignores its context for a while
		<-ctx.Done()
		time.Sleep(linger)
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// lost checks, when a context has ended for lack of renewals, what is left of the key.
func (s *simulation) lost(name string, machine *peerClock, ctx context.Context, fence int64) {
	cause := context.Cause(ctx)
	if !errors.Is(cause, setlock.ErrLost) || machine.slept() {
		return
	}
	left := s.server.TTL("k")
	held, _ := s.server.Get("k") // after that: the work may have returned, and the lock be released
	current, _ := s.server.Get("{k}:fence")
	if strings.HasSuffix(held, ":"+name) && current == fmt.Sprint(fence) && left < simLease/10-time.Millisecond {
		s.errorf("%s: %v of the key was left when its context ended: %v", name, left, cause)
	}
}

// excuse notes that data was lost or stolen: who believes may do so until its
// next renewal that is answered, or until its trust ends.
func (s *simulation) excuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.excused = time.Now().Add(simLease)
}

// trouble does one thing to the world.
func (s *simulation) trouble() {
	p := s.peers[s.rand.IntN(len(s.peers))]
	for _, q := range s.peers { // the leader has the most to lose
		if q.e.IsLeader() && s.rand.IntN(2) == 0 {
			p = q
		}
	}
	howLong := time.Duration(s.rand.ExpFloat64() * float64(simLease))
	faults := []redistest.Faults{
		redistest.Silent, {HoldRequests: true}, {HoldReplies: true}, {LoseReplies: true}, {Refuse: true},
		{Delay: howLong / 20}, {Delay: howLong},
	}
	fault := faults[s.rand.IntN(len(faults))]
	later := func(f func()) { time.AfterFunc(howLong, f) }
	switch s.rand.IntN(16) {
	case 0, 1, 2, 3:
		n := p.network
		n.Set(fault)
		later(func() { n.Set(redistest.Faults{}) })
	case 4:
		for _, p := range s.peers {
			n := p.network
			n.Set(fault)
			later(func() { n.Set(redistest.Faults{}) })
		}
	case 5:
		p.network.Reset()
	case 6:
		answers := []string{"READONLY x", "LOADING x", "CLUSTERDOWN x", "MISCONF x", "OOM x", "NOAUTH x"}
		s.server.SetError(answers[s.rand.IntN(len(answers))])
		later(func() { s.server.SetError("") })
	case 7:
		s.excuse()
		s.server.Del("k")
	case 8:
		s.excuse()
		s.server.Set("k", "foreign")
		s.server.SetTTL("k", howLong+1)
	case 9:
		s.excuse()
		s.server.FlushAll()
	case 10:
		if conn, err := s.server.Dial(s.t.Context()); err == nil {
			redis.NewConn(conn, 0, 0).Do("SCRIPT", "FLUSH") // the server may answer nothing but errors
			conn.Close()
		}
	case 11:
		p.e.Resign()
	case 12: // a rolling restart
		p.end()
		p.begin()
	case 13: // killed: what it sent arrives or not, its lock expires
		p.network.Set(redistest.Silent)
		p.stop()
		<-p.done
		p.network.Reset()
		p.begin()
	case 14:
		p.clock.suspend(howLong)
	case 15: // the wall clock of a machine is set forward
		p.clock.step(howLong)
	}
}

// calm ends all troubles: somebody leads a lease later, and one alone.
func (s *simulation) calm() {
	time.Sleep(20 * simLease) // for what was to end later
	s.server.SetError("")
	for _, p := range s.peers {
		p.network.Set(redistest.Faults{})
	}
	// A redial of the announcements, a step of the pace and a lease.
	time.Sleep(15*time.Second + simLease)
	leaders := 0
	for _, p := range s.peers {
		if p.e.IsLeader() {
			leaders++
		}
	}
	if leaders != 1 {
		s.errorf("%d lead after calm", leaders)
	}
}

// A peerClock is the clock of a machine that can sleep: its timers stop, and
// the wall clock does not.
type peerClock struct {
	mu     sync.Mutex
	offset time.Duration
	wakes  time.Time
	timers map[*peerTimer]struct{}
	prune  int // the number of timers at which those that have run are forgotten
}

type peerTimer struct {
	clock.Timer
	c   *peerClock
	due time.Time
}

func (c *peerClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *peerClock) NewTimer(d time.Duration) clock.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.add(clock.System.NewTimer(max(d, time.Until(c.wakes))), d)
}

func (c *peerClock) AfterFunc(d time.Duration, f func()) clock.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.add(clock.System.AfterFunc(max(d, time.Until(c.wakes)), f), d)
}

func (c *peerClock) add(timer clock.Timer, d time.Duration) clock.Timer {
	t := &peerTimer{timer, c, time.Now().Add(d)}
	if len(c.timers) >= c.prune {
		now := time.Now()
		for old := range c.timers {
			if old.due.Before(now) {
				delete(c.timers, old)
			}
		}
		c.prune = 2*len(c.timers) + 16
	}
	c.timers[t] = struct{}{}
	return t
}

func (t *peerTimer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	delete(t.c.timers, t)
	return t.Timer.Stop()
}

func (t *peerTimer) Reset(d time.Duration) bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.due = time.Now().Add(d)
	t.c.timers[t] = struct{}{}
	return t.Timer.Reset(max(d, time.Until(t.c.wakes)))
}

// suspend stops the timers for d.
func (c *peerClock) suspend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.wakes.Before(now) {
		c.wakes = now
	}
	c.wakes = c.wakes.Add(d) // one that sleeps, sleeps on
	for t := range c.timers {
		if t.Timer.Stop() {
			t.due = t.due.Add(d)
			t.Timer.Reset(time.Until(t.due))
		}
	}
}

// step sets the wall clock forward, now and for good.
func (c *peerClock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// asleep reports whether the machine sleeps, or has woken up no longer ago than it
// may take it to see that.
func (c *peerClock) asleep() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.wakes.Add(simLease/20 + time.Millisecond))
}

// slept reports whether the machine has slept at all lately.
func (c *peerClock) slept() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Before(c.wakes.Add(2 * simLease))
}
