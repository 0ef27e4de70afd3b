package election_test

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/redistest"
)

var (
	simSeeds = flag.Int("sim.seeds", 0, "how many simulations to run; 0: 200, or 100 with the race detector")
	simSeed  = flag.Uint64("sim.seed", 0, "run the simulation of this seed only")
	simFor   = flag.Duration("sim.for", 0, "run simulations of new seeds for so long, whatever -sim.seeds says")
	simTime  = flag.Duration("sim.time", 0, "virtual time of troubles in each simulation; 0: as the seed says, 20 to 25 leases")
	simOnly  = flag.String("sim.only", "", "the only troubles, by their names in the summary, with commas between them")
	simPeers = flag.Int("sim.candidates", 0, "how many candidates take part; 0: as the seed says, 2 to 6")

	simCompanions = flag.Int("sim.companions", 0, "how many sessions each process has besides its candidate, on the same Pool; 0: as the seed says, none or 1 to 3; -1: none")
)

// TestSimulation has candidates live through random troubles, in virtual time, and checks
// what the documentation promises at every step. The seed decides what happens to them and when;
// how goroutines take turns, and the jitter, is up to the runtime.
func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		sum := simulate(t, *simSeed)
		t.Log(sum)
		return
	}
	// Almost all of the garbage is the server's interpreters of Lua.
	defer debug.SetGCPercent(debug.SetGCPercent(1600))
	begin := time.Now()
	seeds := *simSeeds
	if seeds == 0 {
		seeds = 200
		if leaktest.RaceDetector() {
			seeds = 100
		}
	}
	first, last := uint64(1), uint64(seeds)
	if *simFor > 0 {
		first = uint64(begin.UnixMilli())
		last = first + 1<<32
	}
	var (
		next  atomic.Uint64
		mu    sync.Mutex
		total = newSummary()
		wg    sync.WaitGroup
	)
	next.Store(first)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !t.Failed() && (*simFor == 0 || time.Since(begin) < *simFor) {
				seed := next.Add(1) - 1
				if seed > last {
					return
				}
				sum := simulate(t, seed)
				mu.Lock()
				total.add(sum)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%v, %v of real time", total, time.Since(begin).Round(time.Second/10))
}

// simulate runs the simulation of one seed.
func simulate(t *testing.T, seed uint64) *summary {
	s := &simulation{
		t: t, seed: seed, sum: newSummary(), names: make(map[string]*peer), grants: make(map[int64]*grant),
		values: make(map[string]*grant), fresh: make(map[string]*link), links: make(map[*server.Peer]*link),
	}
	defer func() {
		if s.sum.seeds == 0 {
			t.Errorf("seed %d failed; this runs it again:\n%s", seed, again(seed))
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		s.t, s.began, s.calm = t, time.Now(), make(chan struct{})
		s.server = redistest.NewEmbedded(t)
		redistest.Do(t, s.server.Dial, "PING")
		s.server.Server().SetPreHook(s.hook)
		s.step(0)
		s.lease = []time.Duration{1, 3, 3, 3, 6, 6, 6, 15, 15, 15, 60, 300}[s.rand.IntN(12)] * time.Second
		s.slots = make([]*peer, 2+s.rand.IntN(5))
		if happens("replicas away", s.rand.IntN(3) == 0) {
			s.replicas = 1 + s.rand.IntN(2)
		}
		if s.rand.IntN(2) == 0 {
			s.latency = time.Duration(s.rand.Int64N(int64(s.lease / 8000)))
			s.jitter = time.Duration(s.rand.Int64N(int64(s.lease / 800)))
		}
		if *simPeers > 0 {
			s.slots = make([]*peer, *simPeers)
		}
		length := s.lease*20 + time.Duration(s.rand.Int64N(int64(s.lease*5)))
		if *simTime > 0 {
			length = *simTime
		}
		pause := s.lease * time.Duration(1+s.rand.IntN(6)) / 4
		s.accompany()
		for slot := range s.slots {
			s.begin(slot)
		}
		if happens("onlooker", s.rand.IntN(4) == 0) {
			s.sum.troubles["onlooker"]++
			s.onlook()
		}
		s.note("%d candidates, with %d companions each, %d replicas, latency %v, jitter %v",
			len(s.slots), s.companions, s.replicas, s.latency, s.jitter)
		s.end = time.Now().Add(length)
		for n := uint64(1); time.Now().Before(s.end) && !t.Failed(); n++ {
			s.step(n)
			s.live(time.Duration(s.rand.ExpFloat64() * float64(pause)))
			s.trouble()
		}
		s.lull()
		s.farewell()
	})
	s.sum.seeds = 1
	return s.sum
}

// again is the command that runs the simulation of seed again.
func again(seed uint64) string {
	command := fmt.Sprintf("go test ./election -run '^TestSimulation$' -v -sim.seed %d", seed)
	if *simTime > 0 {
		command += fmt.Sprint(" -sim.time ", *simTime)
	}
	if *simOnly != "" {
		command += fmt.Sprintf(" -sim.only %q", *simOnly)
	}
	if *simPeers > 0 {
		command += fmt.Sprint(" -sim.candidates ", *simPeers)
	}
	if *simCompanions != 0 {
		command += fmt.Sprint(" -sim.companions ", *simCompanions)
	}
	return command
}

// happens reports whether a trouble may happen in this simulation: as luck has it, unless some
// are to be the only ones.
func happens(name string, luck bool) bool {
	if *simOnly != "" {
		return slices.Contains(strings.Split(*simOnly, ","), name)
	}
	return luck
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// note tells the story, for whoever has to understand a failure.
func (s *simulation) note(format string, args ...any) {
	s.storyMu.Lock()
	defer s.storyMu.Unlock()
	s.story = append(s.story, fmt.Sprintf("%10v ", time.Since(s.began).Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (s *simulation) errorf(format string, args ...any) {
	s.t.Helper()
	s.note("FAILED: "+format, args...)
	s.storyMu.Lock()
	defer s.storyMu.Unlock()
	if s.t.Failed() {
		return // one is enough, and the first counts
	}
	s.t.Errorf("seed %d, lease %v: %s\n%s", s.seed, s.lease, fmt.Sprintf(format, args...), strings.Join(s.story[max(len(s.story)-40, 0):], "\n"))
}

// A summary is what simulations have seen. Times are parts of a lease.
type summary struct {
	seeds, terms, losses, overlaps int
	handovers                      int // after which another was to lead, and at once
	lacks                          int // checks of Check while replicas were away
	sessions, sessionsLost         int // of companions
	margin, leader, overlap        float64
	troubles                       map[string]int
}

func newSummary() *summary { return &summary{margin: 1, troubles: make(map[string]int)} }

func (m *summary) add(n *summary) {
	m.seeds += n.seeds
	m.terms += n.terms
	m.losses += n.losses
	m.overlaps += n.overlaps
	m.handovers += n.handovers
	m.lacks += n.lacks
	m.sessions += n.sessions
	m.sessionsLost += n.sessionsLost
	m.margin = min(m.margin, n.margin)
	m.leader = max(m.leader, n.leader)
	m.overlap = max(m.overlap, n.overlap)
	for name, times := range n.troubles {
		m.troubles[name] += times
	}
}

func (m *summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d simulations, %d terms, %d lost, %d handed over, %d times not confirmed;", m.seeds, m.terms, m.losses, m.handovers, m.lacks)
	fmt.Fprintf(&b, " %d sessions of companions, %d lost;", m.sessions, m.sessionsLost)
	for _, name := range slices.Sorted(maps.Keys(m.troubles)) {
		fmt.Fprintf(&b, " %s %d,", name, m.troubles[name])
	}
	fmt.Fprintf(&b, " in leases: the least of a key that was left at a loss %.3f, a leader after calm within %.3f,", m.margin, m.leader)
	fmt.Fprintf(&b, " %d overlaps after the key was taken, of at most %.3f", m.overlaps, m.overlap)
	return b.String()
}
