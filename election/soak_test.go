package election_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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

// TestSoak has candidates live through random faults of a real server and of the
// network before it, in real time: troubles for ten leases, calm, and so on. The seed
// decides which troubles, how long they last, the time from each to the next, and how the
// work in each term of a candidate goes. It does not decide who leads, whom the troubles meant
// for a leader therefore hit, nor how goroutines, processes and the disk take turns.
//
// This process may be starved by others. It measures how late a goroutine of its own
// runs, and holds nothing against the candidates that such a stall explains: an overlap
// that was no longer than the stall; a margin that falls short by the stall. The
// summary says how often it had to, and how long the longest stall was.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	server := redistest.NewServer(t, "--appendonly", "yes", "--appendfsync", "always", "--dir", dir)
	leaks := goleak.IgnoreCurrent()
	seed := cmp.Or(*soakSeed, rand.Uint64N(1_000_000)+1)
	s := &soak{
		t: t, seed: seed, lease: *soakLease, server: server, dir: dir, quiet: true,
		fences: make(map[int64]string), faults: make(map[string]int), worst: time.Hour,
	}
	d := cmp.Or(*soakFor, 8*s.lease)
	if *soakPeers < 1 {
		t.Fatal("no candidates")
	}
	t.Logf("soak with the seed %d for %v", seed, d)
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	s.ticked = time.Now()
	background.Go(func() { s.measureStalls(ctx) })
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

// A soak is the world of the candidates, and their judge. Its methods that do things to
// the world are called by the goroutine of the test only.
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

	stallMu      sync.Mutex
	ticked       time.Time
	stalls       []soakStall // lately
	longestStall time.Duration
}

type soakEvent struct {
	at time.Duration
	do func()
}

func (s *soak) errorf(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf("seed %d: %s", s.seed, fmt.Sprintf(format, args...))
}

// ask runs a command on a connection of its own, past all networks.
func (s *soak) ask(command string, args ...any) any {
	reply, err := s.tryFor(10*time.Second, command, args...)
	if err != nil {
		s.errorf("%s %v: %v", command, args, err)
	}
	return reply
}

func (s *soak) tryFor(d time.Duration, command string, args ...any) (any, error) {
	conn, err := redis.Dial("tcp", s.server.Addr, redis.DialConnectTimeout(d), redis.DialReadTimeout(d), redis.DialWriteTimeout(d))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Do(command, args...)
}

// later has do called after d, or when calm begins.
func (s *soak) later(d time.Duration, do func()) {
	s.events = append(s.events, soakEvent{s.now + d, do})
	slices.SortStableFunc(s.events, func(a, b soakEvent) int { return cmp.Compare(a.at, b.at) })
}

// troubles does things to the world for d. The first two are done to a leader that has nothing
// else to suffer: it loses its key, and then the next its network, so that how soon it knows, and the
// margin, are measured whatever the luck.
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

// trouble does the nth thing of a round. It returns the time until the next. All luck is drawn before the
// state of the world is looked at, and that of each step for itself.
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

// restart waits until the server has loaded its data, too.
func (s *soak) restart() {
	s.server.Restart()
	for {
		_, err := s.tryFor(10*time.Second, "GET", "k")
		if err == nil || !strings.HasPrefix(err.Error(), "LOADING") {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// leader returns one that leads, or nil.
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
