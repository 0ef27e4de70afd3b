package election_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"example.com/setlock/internal/redistest"
)

var (
	soakFor   = flag.Duration("soak.for", 0, "how long the soak lasts, which is one round at least; 0: eight leases")
	soakSeed  = flag.Uint64("soak.seed", 0, "seed of the soak; 0: any")
	soakPeers = flag.Int("soak.candidates", 8, "how many candidates take part in the soak")
	soakLease = flag.Duration("soak.lease", time.Second, "their lease")
)

// TestSoak has candidates live through random faults of a real server and of the network before it,
// in real time: troubles for ten leases, calm, and so on. The seed decides which troubles happen, how
// long they last, the time from each to the next, and how the work in each term of a candidate goes.
// The seed does not decide who leads, and so not which candidate is hit by the troubles for a leader.
// Nor does it decide how goroutines, processes and the disk take turns.
//
// Other processes may starve this one, which a stallMeter measures. What a stall explains is not held
// against the candidates: an overlap that was no longer than the stall, or a margin that falls short
// by the stall. The summary reports how often that happened, and the longest stall.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	server := redistest.NewServer(t, "--appendonly", "yes", "--appendfsync", "always", "--dir", dir)
	leaks := goleak.IgnoreCurrent()
	seed := cmp.Or(*soakSeed, rand.Uint64N(1_000_000)+1)
	s := &soak{
		t: t, seed: seed, lease: *soakLease, server: server, dir: dir, quiet: true,
		fences: make(map[int64]string), faults: make(map[string]int), worst: time.Hour, stalls: stallMeter{memory: 20 * *soakLease},
	}
	d := cmp.Or(*soakFor, 8*s.lease)
	if *soakPeers < 1 {
		t.Fatal("no candidates")
	}
	t.Logf("soak with the seed %d for %v", seed, d)
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	stopMeter := s.stalls.start(t)
	background.Go(func() { s.feelPulse(ctx) })
	background.Go(func() { s.listen(ctx) })
	for i := range *soakPeers {
		s.peers = append(s.peers, &soakPeer{
			s: s, name: "c" + strconv.Itoa(i), network: redistest.NewNetwork(t, server.Dial), mood: rand.New(rand.NewPCG(seed, 1<<32+uint64(i))),
		})
	}
	start := time.Now()
	for _, p := range s.peers {
		p.begin()
	}
	s.awaitLeader(start, 4*s.lease)
	for left := d; s.calms == 0 || left > 3*s.lease && !t.Failed(); left = d - time.Since(start) {
		s.troubles(min(10*s.lease, max(left-3*s.lease, 5*s.lease)))
		s.calm()
	}
	for _, p := range s.peers {
		p.end()
	}
	s.judging.Wait()
	time.Sleep(50 * time.Millisecond) // for the last news
	cancel()
	background.Wait()
	stopMeter()
	if held, err := redis.String(s.ask("GET", "k"), nil); err == nil {
		s.errorf("%s holds the key when all have ended", held)
	}
	server.Kill()
	if err := goleak.Find(leaks); err != nil {
		s.errorf("left when all have ended: %v", err)
	}
	s.sum(d)
	s.mu.Lock()
	terms, margins := s.terms, s.margins
	s.mu.Unlock()
	if terms == 0 || s.calms == 0 {
		s.errorf("%d terms, %d times calm: nothing was tested", terms, s.calms)
	}
	if want := int(d / max(30*time.Second, 30*s.lease)); d >= time.Minute && margins < want {
		s.errorf("%d margins measured, want %d", margins, want)
	}
	if t.Failed() {
		t.Fatalf("seed %d failed; this does the same troubles again, at about the same times, to candidates"+
			" of which others may lead:\ngo test ./election -run '^TestSoak$' -v -soak.seed %[1]d -soak.for %v -soak.lease %v -soak.candidates %d -timeout 0",
			seed, d, s.lease, *soakPeers)
	}
}

// A soak is the world of the candidates, and their judge. Only the goroutine of the test calls the
// methods that do things to the world.
type soak struct {
	t      *testing.T
	seed   uint64
	lease  time.Duration
	server *redistest.Server
	dir    string // of its data
	peers  []*soakPeer

	// Of the driver.
	steps  uint64        // troubles so far
	now    time.Duration // in the plan, where what is done takes no time
	events []soakEvent   // that end troubles, by time
	down   bool          // the server is killed, stopped or paused
	faults map[string]int
	calms  int
	gap    time.Duration // the longest without a leader after calm

	judging sync.WaitGroup // of ends of contexts

	mu                             sync.Mutex
	quiet                          bool // work does not end by itself
	live                           []*soakTerm
	overlaps                       []*soakOverlap // that have not ended
	losses                         []*soakSpan    // in which data was lost or the key taken by hand, lately
	ill                            []*soakSpan    // in which the server was not well, lately
	asked                          time.Time      // the pulse, of which no answer has come
	fences                         map[int64]string
	last                           int64 // the greatest of fences
	terms                          int
	wrong, excused, stalled        int // overlaps that have ended
	longestExcused                 time.Duration
	prompt, patient                int    // terms that ended after their key had gone, by what they were allowed
	moods                          [4]int // failed, panicked, left, lingered
	lost                           []time.Time
	margins, away, unknown, starve int
	worst, worstStall              time.Duration // the smallest margin, and the stall at that time

	stalls stallMeter
}

func (s *soak) errorf(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf("seed %d: %s", s.seed, fmt.Sprintf(format, args...))
}

// ask runs a command on a connection of its own, past all networks.
func (s *soak) ask(command string, args ...any) any {
	reply, err := ask(s.server.Addr, 10*time.Second, command, args...)
	if err != nil {
		s.errorf("%s %v: %v", command, args, err)
	}
	return reply
}

// leader returns a candidate that leads, or nil.
func (s *soak) leader() *soakPeer {
	for _, p := range s.peers {
		s.mu.Lock()
		e := p.e
		s.mu.Unlock()
		if e != nil && e.IsLeader() {
			return p
		}
	}
	return nil
}

// feelPulse notes when the server is slow. The server, or its disk, may be starved too.
func (s *soak) feelPulse(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(s.lease / 40) {
		sent := time.Now()
		s.mu.Lock()
		s.asked = sent
		s.mu.Unlock()
		_, err := ask(s.server.Addr, s.lease, "SET", "pulse", "x")
		s.mu.Lock()
		s.asked = time.Time{}
		if now := time.Now(); err != nil || now.Sub(sent) > s.lease/20 {
			s.ill = append(s.recent(s.ill), &soakSpan{sent, now})
		}
		s.mu.Unlock()
	}
}

// sum logs in one line what has happened.
func (s *soak) sum(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, mood := range []string{"work failed", "work panicked", "work left", "work lingered"} {
		s.faults[mood] = s.moods[i]
	}
	var faults []string
	for _, kind := range slices.Sorted(maps.Keys(s.faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", kind, s.faults[kind]))
	}
	worst := "none"
	if s.margins > 0 {
		worst = fmt.Sprintf("%v of %v (of %d measured, %d short by a stall; %d unknown, and %d with the server away)",
			s.worst.Round(time.Millisecond), s.lease/10, s.margins, s.starve, s.unknown, s.away)
	}
	s.t.Logf("%v, %d candidates, lease %v, seed %d: %d terms; faults: %s; worst margin %s; longest without a leader after calm %v (of %d);"+
		" overlaps %d, with data lost or stolen %d, the longest %v, in a stall %d;"+
		" keys lost while all was well %d, in troubles %d; longest stall of this process %v",
		d, len(s.peers), s.lease, s.seed, s.terms, strings.Join(faults, ", "), worst, s.gap.Round(time.Millisecond), s.calms,
		s.wrong, s.excused, s.longestExcused.Round(time.Millisecond), s.stalled, s.prompt, s.patient, s.stalls.ever().Round(time.Millisecond))
}
