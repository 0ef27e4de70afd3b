package election_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

var (
	soakFor   = flag.Duration("soak.for", 0, "how long the soak lasts; 0: about eight seconds")
	soakSeed  = flag.Uint64("soak.seed", 0, "seed of the soak; 0: any")
	soakPeers = flag.Int("soak.candidates", 8, "how many candidates take part in the soak")
	soakLease = flag.Duration("soak.lease", time.Second, "their lease")
)

// TestSoak has candidates live through random faults of a real server and of the
// network before it, in real time: troubles for ten leases, calm, and so on. The seed
// decides what is done to them, and about when.
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
		t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 1)), lease: *soakLease, server: server, dir: dir,
		fences: make(map[int64]string), faults: make(map[string]int), worst: time.Hour,
	}
	d := cmp.Or(*soakFor, 8*time.Second)
	t.Logf("soak with the seed %d for %v", seed, d)
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	s.ticked = time.Now()
	background.Go(func() { s.measureStalls(ctx) })
	background.Go(func() { s.listen(ctx) })
	for i := range *soakPeers {
		s.peers = append(s.peers, &soakPeer{
			s: s, name: "c" + strconv.Itoa(i), network: redistest.NewNetwork(t, server.Dial), mood: rand.New(rand.NewPCG(seed, uint64(i)+2)),
		})
	}
	for _, p := range s.peers {
		p.begin()
	}
	for end := time.Now().Add(d - 3*s.lease); time.Now().Before(end) && !t.Failed(); {
		until := time.Now().Add(10 * s.lease)
		if until.After(end) {
			until = end
		}
		s.troubles(until)
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
	if t.Failed() {
		t.Fatalf("seed %d failed; go test ./election -run TestSoak -soak.for %v -soak.seed %[1]d does the same to them again", seed, d)
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
	rand   *rand.Rand
	events []soakEvent // that end troubles, by time
	down   bool        // the server is killed, stopped or paused
	faults map[string]int
	calms  int
	gap    time.Duration // the longest without a leader after calm

	judging sync.WaitGroup // of ends of contexts

	mu                             sync.Mutex
	quiet                          bool // work does not end by itself
	live                           []*soakTerm
	overlaps                       []*soakOverlap // that have not ended
	losses                         []soakLoss     // of data, lately
	fences                         map[int64]string
	last                           int64 // the greatest of fences
	terms                          int
	wrong, excused, stalled        int // overlaps that have ended
	longestExcused                 time.Duration
	moods                          [4]int // failed, panicked, left, lingered
	lost                           []time.Time
	margins, away, unknown, starve int
	worst, worstStall              time.Duration // the smallest margin, and the stall at that time

	stallMu      sync.Mutex
	ticked       time.Time
	stalls       []soakStall // lately
	longestStall time.Duration
}

// A soakPeer is one candidate: a process with a pool of its own, behind a network of its own.
type soakPeer struct {
	s       *soak
	name    string
	network *redistest.Network
	pool    *redis.Pool
	stop    context.CancelFunc
	done    chan struct{}

	// Guarded by soak.mu.
	e       *election.Election
	working *soakTerm // nil when it does not work
	mood    *rand.Rand
}

// A soakTerm is the time from the begin of a peer's work to the end of its context.
type soakTerm struct {
	peer  *soakPeer
	fence int64
	ctx   context.Context
	over  chan struct{} // closed when its end has been judged
	taken time.Time     // when the key had gone, guarded by soak.mu
}

// A soakOverlap is the time in which the contexts of two terms live.
type soakOverlap struct {
	a, b  *soakTerm
	begin time.Time
}

// A soakLoss is a time in which data was lost, or the key taken by hand.
type soakLoss struct{ begin, end time.Time }

type soakStall struct {
	end  time.Time
	late time.Duration
}

type soakEvent struct {
	at time.Time
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

// begin starts a candidate, as a new process does.
func (p *soakPeer) begin() {
	s := p.s
	p.pool = redistest.Pool(s.t, p.network.Dial)
	p.done = make(chan struct{})
	ctx, cancel := context.WithCancel(s.t.Context())
	p.stop = cancel
	go func() {
		defer close(p.done)
		for ctx.Err() == nil {
			p.run(ctx)
		}
	}()
}

// run is one Run. A panic ends the process: what comes after is another.
func (p *soakPeer) run(ctx context.Context) {
	s := p.s
	e := &election.Election{
		Lock:      &setlock.Lock{Key: "k", Pool: p.pool, Owner: p.name, Lease: s.lease},
		OnElected: p.work,
		BackOff: func() backoff.BackOff {
			return backoff.NewExponentialBackOff(
				backoff.WithInitialInterval(s.lease/20), backoff.WithMaxInterval(s.lease/2), backoff.WithMaxElapsedTime(0),
			)
		},
	}
	s.mu.Lock()
	p.e = e
	s.mu.Unlock()
	changes := e.Changes()
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(changes)
	}()
	defer func() {
		if r := recover(); r != nil && r != "mood" {
			panic(r)
		}
		<-read // closed by Run
		if err := e.Check(0); err != nil || e.IsLeader() {
			s.errorf("%s: Check says %v after Run, IsLeader %v", p.name, err, e.IsLeader())
		}
	}()
	if err := e.Run(ctx); err != nil {
		s.errorf("%s: Run: %v", p.name, err)
	}
}

// end stops a candidate and waits until nothing of it is left.
func (p *soakPeer) end() {
	s := p.s
	start := time.Now()
	p.stop()
	<-p.done
	// Its work may linger for half a lease, and the release takes a sixth at most.
	if took, late := time.Since(start), s.stall(start); took > s.lease+late {
		s.errorf("%s: Run returned %v after its context ended, with a stall of %v", p.name, took, late)
	}
	p.pool.Close()
}

// read checks the story that Changes tells of one Run.
func (p *soakPeer) read(changes <-chan election.Change) {
	var before election.Change
	var led int64
	for c := range changes {
		p.s.mu.Lock()
		by, known := p.s.fences[c.Fence]
		p.s.mu.Unlock()
		switch {
		case c.Leading && (before.Leading || c.Fence <= led || c.Leader != p.name || c.Err != nil):
			p.s.errorf("%s: told %+v after %+v", p.name, c, before)
		case before.Leading && !c.Leading && c.Leader != "":
			p.s.errorf("%s: told %+v after %+v", p.name, c, before)
		case known && by != c.Leader:
			p.s.errorf("%s: told %+v, and %s has that fence", p.name, c, by)
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

// work is OnElected.
func (p *soakPeer) work(ctx context.Context) error {
	s := p.s
	term, mood, linger := s.elected(p, ctx)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		p.working = nil
	}()
	counted := func(i int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.moods[i]++
	}
	switch {
	case mood < 0.05:
		counted(0)
		return errors.New("mood")
	case mood < 0.1:
		counted(1)
		panic("mood")
	case mood < 0.2: // a while of work, and that is it
		counted(2)
		select {
		case <-ctx.Done():
		case <-time.After(linger):
		}
		return nil
	case mood < 0.4: // ignores its context for a while
		<-ctx.Done()
		counted(3)
		time.Sleep(linger)
		return nil
	case mood < 0.9: // until the key, which it keeps, has been looked at
		<-ctx.Done()
		<-term.over
		return ctx.Err()
	}
	<-ctx.Done()
	return ctx.Err()
}

// elected begins a term: the judge of who may believe. It says how the work goes, too.
func (s *soak) elected(p *soakPeer, ctx context.Context) (term *soakTerm, mood float64, linger time.Duration) {
	fence, _ := setlock.FenceFromContext(ctx)
	term = &soakTerm{peer: p, fence: fence, ctx: ctx, over: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.terms++
	if by, taken := s.fences[fence]; taken {
		s.errorf("%s has the fence %d of %s", p.name, fence, by)
	}
	s.fences[fence] = p.name
	if fence <= s.last && ctx.Err() == nil && !s.explained(now, now) && s.stall(now.Add(-s.lease)) < s.lease/20 {
		s.errorf("%s is elected with %d after %d", p.name, fence, s.last)
	}
	s.last = max(s.last, fence)
	if p.working != nil {
		s.errorf("%s works twice", p.name)
	}
	for _, other := range s.live {
		if other.ctx.Err() == nil && ctx.Err() == nil {
			s.overlaps = append(s.overlaps, &soakOverlap{a: other, b: term, begin: now})
		}
	}
	p.working = term
	s.live = append(s.live, term)
	s.judging.Add(1)
	context.AfterFunc(ctx, func() {
		defer s.judging.Done()
		s.ended(term)
	})
	mood, linger = p.mood.Float64(), time.Duration(min(p.mood.ExpFloat64()/4, 0.5)*float64(s.lease))
	if s.quiet {
		mood = 1
	}
	return term, mood, linger
}

// ended judges a term whose context has ended.
func (s *soak) ended(term *soakTerm) {
	defer close(term.over)
	now := time.Now()
	s.mu.Lock()
	s.live = slices.DeleteFunc(s.live, func(t *soakTerm) bool { return t == term })
	s.overlaps = slices.DeleteFunc(s.overlaps, func(o *soakOverlap) bool {
		if o.a != term && o.b != term {
			return false
		}
		took, late := now.Sub(o.begin), s.stall(o.begin.Add(-s.lease))
		switch {
		case s.explained(o.begin, now.Add(-late)):
			s.excused++
			s.longestExcused = max(s.longestExcused, took)
		case late >= s.lease/20 && took <= late:
			s.stalled++
		default:
			s.wrong++
			s.errorf("%s with %d and %s with %d led for %v, with a stall of %v", o.a.peer.name, o.a.fence, o.b.peer.name, o.b.fence, took, late)
		}
		return true
	})
	if late := s.stall(now.Add(-s.lease)); !term.taken.IsZero() && now.Sub(term.taken) > s.lease+late {
		s.errorf("%s believed for %v after its key had gone, with a stall of %v", term.peer.name, now.Sub(term.taken), late)
	}
	lost := errors.Is(context.Cause(term.ctx), setlock.ErrLost)
	if lost {
		s.lost = append(s.lost, now)
	}
	s.mu.Unlock()
	if lost {
		s.margin(term, now)
	}
}

// margin measures what was left of the key when the context of a term ended for a loss.
func (s *soak) margin(term *soakTerm, ended time.Time) {
	reply, err := redis.Values(s.tryFor(s.lease/5, "EVAL",
		"return {redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or '', redis.call('PEXPIRETIME', KEYS[1])}", 2, "k", "{k}:fence"))
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.away++
		return
	}
	held, _ := redis.String(reply[0], nil)
	fence, _ := redis.String(reply[1], nil)
	expires, _ := redis.Int64(reply[2], nil)
	late := s.stall(ended.Add(-s.lease))
	var margin time.Duration // none: the key is gone
	switch {
	case strings.HasSuffix(held, ":"+term.peer.name) && fence == strconv.FormatInt(term.fence, 10):
		margin = time.UnixMilli(expires).Sub(ended)
	case s.explained(ended, ended):
		return // it was taken
	case term.peer.working != term, now.Sub(ended) > s.lease/20:
		s.unknown++ // the work has returned, or the answer came when the key might have expired
		return
	}
	s.margins++
	if margin < s.worst {
		s.worst, s.worstStall = margin, late
	}
	switch {
	case margin >= s.lease/10-s.lease/20:
	case margin >= s.lease/10-s.lease/20-2*late && late >= s.lease/40:
		s.starve++
	default:
		s.errorf("%s: %v of the key was left when its context ended, with a stall of %v: %v", term.peer.name, margin, late, context.Cause(term.ctx))
	}
}

// explained reports whether two may have believed from begin to end because data was
// lost: for a lease after that at most. s.mu is locked.
func (s *soak) explained(begin, end time.Time) bool {
	return slices.ContainsFunc(s.losses, func(l soakLoss) bool {
		until := l.end
		if until.IsZero() {
			until = time.Now() // it goes on
		}
		return !begin.Before(l.begin) && !end.After(until.Add(s.lease))
	})
}

// lose does something that loses data, or takes the key.
func (s *soak) lose(do func()) {
	s.mu.Lock()
	s.losses = append(slices.DeleteFunc(s.losses, func(l soakLoss) bool { return time.Since(l.end) > 10*s.lease }), soakLoss{begin: time.Now()})
	old := slices.Clone(s.live)
	s.mu.Unlock()
	do()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.losses[len(s.losses)-1].end = now
	for _, term := range old {
		if term.taken.IsZero() {
			term.taken = now
		}
	}
}

// measureStalls notes how late this goroutine runs.
func (s *soak) measureStalls(ctx context.Context) {
	const tick = 2 * time.Millisecond
	for ctx.Err() == nil {
		time.Sleep(tick)
		now := time.Now()
		s.stallMu.Lock()
		late := now.Sub(s.ticked) - tick
		s.ticked = now
		s.longestStall = max(s.longestStall, late)
		s.stalls = slices.DeleteFunc(s.stalls, func(old soakStall) bool { return now.Sub(old.end) > 20*s.lease })
		if late > tick {
			s.stalls = append(s.stalls, soakStall{now, late})
		}
		s.stallMu.Unlock()
	}
}

// stall returns the longest stall of this process since some time, one that goes on included.
func (s *soak) stall(since time.Time) time.Duration {
	s.stallMu.Lock()
	defer s.stallMu.Unlock()
	longest := time.Since(s.ticked)
	for _, stall := range s.stalls {
		if stall.end.After(since) {
			longest = max(longest, stall.late)
		}
	}
	return longest
}

// listen hears, as far as the server can tell it, of what happens to the key: fences increase in
// its order, and it is not released while its holder works.
func (s *soak) listen(ctx context.Context) {
	var last int64
	fences := make(map[string]int64) // by the value of the key
	for ctx.Err() == nil {
		conn, err := redis.Dial("tcp", s.server.Addr, redis.DialConnectTimeout(time.Second))
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		subscriber := redis.PubSubConn{Conn: conn}
		for err := subscriber.Subscribe("setlock:k"); err == nil; {
			switch m := subscriber.Receive().(type) {
			case error:
				err = m
			case redis.Message:
				words := strings.Fields(string(m.Data))
				switch words[0] {
				case "acquired":
					fence, _ := strconv.ParseInt(words[1], 10, 64)
					if fence <= last {
						s.errorf("%s was given the fence %d after %d", words[4], fence, last)
					}
					last = fence
					clear(fences)
					fences[words[4]] = fence
				case "released":
					s.released(words[1], fences[words[1]])
				}
			}
		}
		stop()
		conn.Close()
	}
}

func (s *soak) released(value string, fence int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		if strings.HasSuffix(value, ":"+p.name) && p.working != nil && p.working.fence == fence {
			s.errorf("%s: released while its work goes on", p.name)
		}
	}
}

// later has do called after d, or when calm begins.
func (s *soak) later(d time.Duration, do func()) {
	s.events = append(s.events, soakEvent{time.Now().Add(d), do})
	slices.SortStableFunc(s.events, func(a, b soakEvent) int { return a.at.Compare(b.at) })
}

// troubles does things to the world until then.
func (s *soak) troubles(until time.Time) {
	next := time.Now()
	for time.Now().Before(until) && !s.t.Failed() {
		wake := next
		if len(s.events) > 0 && s.events[0].at.Before(wake) {
			wake = s.events[0].at
		}
		time.Sleep(time.Until(wake))
		for len(s.events) > 0 && !s.events[0].at.After(time.Now()) {
			do := s.events[0].do
			s.events = s.events[1:]
			do()
		}
		if now := time.Now(); !next.After(now) {
			s.trouble()
			next = time.Now().Add(time.Duration(s.rand.ExpFloat64() * float64(s.lease) / 3))
		}
	}
}

// trouble does one thing.
func (s *soak) trouble() {
	p := s.peers[s.rand.IntN(len(s.peers))]
	leader := s.leader()
	if leader != nil && s.rand.IntN(3) > 0 { // it has the most to lose
		p = leader
	}
	howLong := time.Duration(s.rand.ExpFloat64() * float64(s.lease))
	faults := []struct {
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
	fault := faults[s.rand.IntN(len(faults))]
	what := s.rand.IntN(24)
	if s.down && what >= 12 {
		what -= 12 // nobody would hear
	}
	of := func(kind string) { s.faults[kind]++ }
	away := func(back func()) {
		s.down = true
		s.later(howLong, func() {
			back()
			s.down = false
		})
	}
	switch what {
	case 0, 1, 2, 3, 4:
		of(fault.kind)
		if p == leader && s.rand.IntN(2) == 0 {
			howLong += s.lease // it shall feel it
		}
		p.network.Set(fault.faults)
		s.later(howLong, func() { p.network.Set(redistest.Faults{}) })
	case 5, 6:
		of(fault.kind + " for all")
		for _, p := range s.peers {
			p.network.Set(fault.faults)
		}
		s.later(howLong, func() {
			for _, p := range s.peers {
				p.network.Set(redistest.Faults{})
			}
		})
	case 7:
		of("reset")
		p.network.Reset()
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
		p.network.Set(redistest.Silent)
		p.end()
		p.network.Reset()
		p.network.Set(redistest.Faults{})
		p.begin()
	case 12, 13:
		of("SIGSTOP")
		s.server.Pause()
		away(s.server.Continue)
	case 14, 15:
		of("kill -9, back with data")
		s.server.Kill()
		away(s.restart)
	case 16:
		of("kill -9, back without")
		s.lose(func() {
			s.server.Kill()
			if err := os.RemoveAll(filepath.Join(s.dir, "appendonlydir")); err != nil {
				s.errorf("%v", err)
			}
		})
		away(s.restart)
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
		s.ask("CLIENT", "PAUSE", howLong.Milliseconds()+1)
		away(func() { s.ask("CLIENT", "UNPAUSE") })
	case 21:
		of("CLIENT KILL normal")
		s.ask("CLIENT", "KILL", "TYPE", "normal")
	case 22:
		of("CLIENT KILL pubsub")
		s.ask("CLIENT", "KILL", "TYPE", "pubsub")
	case 23:
		of("SCRIPT FLUSH")
		s.ask("SCRIPT", "FLUSH")
	}
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
	// A dead holder's lease, a step of the pace, and two attempts on connections
	// where nothing comes back.
	s.awaitLeader(start, 4*s.lease)
	slow := s.probe(s.lease)
	s.awaitLeader(time.Now(), 5*slow)
	still := time.Now()
	slow = s.probe(s.lease)
	s.mu.Lock()
	defer s.mu.Unlock()
	if late := s.stall(still) + slow; late < s.lease/3 {
		for _, at := range s.lost {
			if at.After(still) {
				s.errorf("lost in calm, with stalls of %v", late)
			}
		}
	}
	s.lost = nil
	s.quiet = false
}

// probe writes for d, and returns how long the slowest took: the server, or its disk, may be
// starved too.
func (s *soak) probe(d time.Duration) (slowest time.Duration) {
	for start := time.Now(); time.Since(start) < d; time.Sleep(s.lease / 20) {
		sent := time.Now()
		s.ask("SET", "probe", "x")
		slowest = max(slowest, time.Since(sent))
	}
	return slowest
}

// awaitLeader waits until somebody leads.
func (s *soak) awaitLeader(start time.Time, bound time.Duration) {
	for s.leader() == nil {
		gap, late := time.Since(start), s.stall(start)
		if gap > 10*s.lease+late {
			s.errorf("nobody leads %v after calm", gap)
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	gap := time.Since(start)
	s.gap = max(s.gap, gap)
	if late := s.stall(start); gap > bound+s.lease/10+5*late {
		s.errorf("nobody led for %v after calm, want %v, with a stall of %v", gap, bound, late)
	}
}

// sum logs what has happened, in a line.
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
		" overlaps %d, with data lost or stolen %d, the longest %v, in a stall %d; longest stall of this process %v",
		d, len(s.peers), s.lease, s.seed, s.terms, strings.Join(faults, ", "), worst, s.gap.Round(time.Millisecond), s.calms,
		s.wrong, s.excused, s.longestExcused.Round(time.Millisecond), s.stalled, s.longestStall.Round(time.Millisecond))
}
