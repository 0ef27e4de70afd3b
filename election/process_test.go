package election_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// The environment of a candidate's process: where its Redis is, host:port. Its
// name is in candidateName.
const (
	candidateRedis = "SETLOCK_TEST_REDIS"
	candidateName  = "SETLOCK_TEST_NAME"
)

// processLease is the lease of these candidates, long for machines that are busy.
const processLease = 2 * time.Second

// A register stands for anything that the leader writes to: it refuses a fence
// smaller than one that it has seen, and counts the writes that it accepts.
var register = redis.NewScript(1, `
local seen = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0')
if tonumber(ARGV[1]) < seen then return 0 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
return redis.call('HINCRBY', KEYS[1], 'writes', 1)`)

// write writes to the register with fence. It returns which write it was, 0 for one that
// was refused.
func write(ctx context.Context, conn redis.Conn, fence int64) (int, error) {
	return redis.Int(register.DoContext(ctx, conn, "register", fence))
}

// A report is what a candidate's process has to tell.
type report struct {
	Who   string    `json:"who"`
	What  string    `json:"what"`            // see below
	At    time.Time `json:"at"`              // by the wall clock, which all processes share; of a write, before it
	Fence int64     `json:"fence,omitempty"` // of its own term; of a change, the leader's
	Write int       `json:"write,omitempty"` // which write the register has accepted
	Owner string    `json:"owner,omitempty"` // of a change: who leads
	Leads bool      `json:"leads,omitempty"` // of a change
	Err   string    `json:"err,omitempty"`
}

const (
	hasElected  = "elected"
	hasEnded    = "ended"    // its context has, with the cause Err
	hasWritten  = "written"  // the register has accepted a write
	hasRefused  = "refused"  // the register has refused a write
	hasFailed   = "failed"   // a write
	hasChecked  = "checked"  // Check tells that OnElected still runs: Err
	hasChanged  = "changed"  // as told by Changes
	hasReturned = "returned" // Run has
)

// runCandidate is the process of a candidate. It runs until SIGTERM, or until its
// standard input ends: with the process of the test.
func runCandidate() int {
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	tell := func(e report) {
		if e.Who = os.Getenv(candidateName); e.At.IsZero() {
			e.At = time.Now()
		}
		mu.Lock()
		defer mu.Unlock()
		out.Encode(e)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	pool := &redis.Pool{MaxIdle: 4, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", os.Getenv(candidateRedis), redis.DialConnectTimeout(time.Second))
	}}
	defer pool.Close()

	var e *election.Election
	// attempt writes whether or not the context has ended, as careless work may.
	attempt := func(fence int64) {
		conn := pool.Get()
		defer conn.Close()
		bounded, cancel := context.WithTimeout(context.Background(), processLease)
		defer cancel()
		at := time.Now()
		switch n, err := write(bounded, conn, fence); {
		case err != nil:
			tell(report{What: hasFailed, At: at, Fence: fence, Err: err.Error()})
		case n == 0:
			tell(report{What: hasRefused, At: at, Fence: fence})
		default:
			tell(report{What: hasWritten, At: at, Fence: fence, Write: n})
		}
	}
	work := func(ctx context.Context) error {
		fence, _ := setlock.FenceFromContext(ctx)
		tell(report{What: hasElected, Fence: fence})
		var told sync.WaitGroup
		told.Go(func() { // a write shall not hold it up
			<-ctx.Done()
			tell(report{What: hasEnded, Fence: fence, Err: context.Cause(ctx).Error()})
		})
		for tick := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			attempt(fence)
		}
		told.Wait()
		attempt(fence)
		if errors.Is(context.Cause(ctx), setlock.ErrLost) {
			for late := time.Now().Add(processLease); time.Now().Before(late); time.Sleep(time.Millisecond) {
				// Right after SIGCONT, Redis too has not answered for long.
				if err := e.Check(10 * time.Millisecond); err != nil && strings.Contains(err.Error(), "still runs") {
					tell(report{What: hasChecked, Fence: fence, Err: err.Error()})
					break
				}
			}
		}
		return nil
	}
	e = &election.Election{
		Lock:      &setlock.Lock{Key: "k", Pool: pool, Owner: os.Getenv(candidateName), Lease: processLease},
		OnElected: work,
	}
	var told sync.WaitGroup
	changes := e.Changes()
	told.Go(func() {
		for c := range changes {
			said := report{What: hasChanged, At: c.Time, Fence: c.Fence, Owner: c.Leader, Leads: c.Leading}
			if c.Err != nil {
				said.Err = c.Err.Error()
			}
			tell(said)
		}
	})
	err := e.Run(ctx)
	told.Wait()
	if err != nil {
		tell(report{What: hasReturned, Err: err.Error()})
		return 1
	}
	tell(report{What: hasReturned})
	return 0
}

// A stage has candidates in processes of their own, on a real server.
type stage struct {
	t      *testing.T
	server *redistest.Server
	cast   map[string]*exec.Cmd

	mu      sync.Mutex
	reports []report
}

// newStage starts three candidates, which end with t.
func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{t: t, server: redistest.NewServer(t), cast: make(map[string]*exec.Cmd)}
	for _, name := range []string{"a", "b", "c"} {
		s.start(name)
	}
	for name := range s.cast {
		s.await("a leader seen by "+name, func(e report) bool { return e.Who == name && e.What == hasChanged && e.Owner != "" })
	}
	return s
}

func (s *stage) start(name string) {
	s.t.Helper()
	program, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), candidateRedis+"="+s.server.Addr, candidateName+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // open for as long as we live
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cast[name] = cmd
	var read sync.WaitGroup
	read.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var e report
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				s.t.Errorf("%s says %q: %v", name, lines.Bytes(), err)
				continue
			}
			s.mu.Lock()
			s.reports = append(s.reports, e)
			s.mu.Unlock()
		}
	})
	s.t.Cleanup(func() {
		cmd.Process.Kill()
		read.Wait()
		cmd.Wait()
		in.Close()
	})
}

// all returns the reports that match, so far.
func (s *stage) all(match func(report) bool) []report {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []report
	for _, e := range s.reports {
		if match(e) {
			found = append(found, e)
		}
	}
	return found
}

// await returns the first report that matches, once it has come.
func (s *stage) await(what string, match func(report) bool) report {
	s.t.Helper()
	var found []report
	eventually(s.t, 15*time.Second, what, func() bool {
		found = s.all(match)
		return len(found) > 0
	})
	return found[0]
}

// leader waits until one leads with a fence greater than after, and has written.
func (s *stage) leader(after int64) report {
	s.t.Helper()
	elected := s.await("a leader", func(e report) bool { return e.What == hasElected && e.Fence > after })
	s.await("a write of "+elected.Who, func(e report) bool { return e.What == hasWritten && e.Fence == elected.Fence })
	return elected
}

func (s *stage) signal(name string, sig syscall.Signal) {
	s.t.Helper()
	if err := s.cast[name].Process.Signal(sig); err != nil {
		s.t.Fatalf("%v for %s: %v", sig, name, err)
	}
}

// end has a candidate end as programs do, and waits for that.
func (s *stage) end(name string) {
	s.t.Helper()
	s.signal(name, syscall.SIGTERM)
	s.await("the end of "+name, func(e report) bool { return e.Who == name && e.What == hasReturned && e.Err == "" })
}

// left returns how much of the lease is left, at the least at the time that it returns.
func (s *stage) left() (time.Time, time.Duration) {
	s.t.Helper()
	at := time.Now()
	ms, _ := redis.Int64(redistest.Do(s.t, s.server.Dial, "PTTL", "k"), nil)
	if ms < 0 {
		s.t.Errorf("PTTL = %d, want a lease that runs", ms)
	}
	return at, time.Duration(ms) * time.Millisecond
}

// judge fails t unless fences have increased from term to term, and each term
// has ended before the next began. Where a term was cut off, its end is in ends,
// by its fence.
func (s *stage) judge(ends map[int64]time.Time) {
	s.t.Helper()
	terms := s.all(func(e report) bool { return e.What == hasElected })
	slices.SortFunc(terms, func(a, b report) int { return a.At.Compare(b.At) })
	for _, e := range s.all(func(e report) bool { return e.What == hasEnded }) {
		if _, cut := ends[e.Fence]; !cut {
			ends[e.Fence] = e.At
		}
	}
	for i := 1; i < len(terms); i++ {
		last, next := terms[i-1], terms[i]
		if next.Fence <= last.Fence {
			s.t.Errorf("%s is elected with the fence %d after %d", next.Who, next.Fence, last.Fence)
		}
		if end, ended := ends[last.Fence]; !ended || end.After(next.At) {
			s.t.Errorf("%s is elected at %v, while %s leads, until %v", next.Who, next.At, last.Who, end)
		}
	}
	writes := s.all(func(e report) bool { return e.What == hasWritten })
	slices.SortFunc(writes, func(a, b report) int { return a.Write - b.Write })
	for i := 1; i < len(writes); i++ {
		if writes[i].Fence < writes[i-1].Fence {
			s.t.Errorf("write %d has the fence %d, after %d", writes[i].Write, writes[i].Fence, writes[i-1].Fence)
		}
	}
}

// kill -9: another leads when the lease has run out, and not before.
func TestLeaderProcessKilled(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first := s.leader(0)
	s.signal(first.Who, syscall.SIGKILL)
	s.cast[first.Who].Process.Wait()
	killed, left := s.left()
	second := s.leader(first.Fence)
	took := second.At.Sub(killed.Round(0))
	t.Logf("%v after its death, with %v of its lease left, another leads", took, left)
	// Redis knows milliseconds.
	if took < left-5*time.Millisecond || took > left+processLease/2 {
		t.Errorf("another leads %v after the death of a leader with %v of its lease left", took, left)
	}
	s.judge(map[int64]time.Time{first.Fence: killed})
}

// SIGTERM: another leads long before the lease could have run out.
func TestLeaderProcessEnds(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first := s.leader(0)
	s.end(first.Who)
	s.cast[first.Who].Process.Wait()
	second := s.leader(first.Fence)
	ended := s.await("the end of the term", func(e report) bool { return e.What == hasEnded && e.Fence == first.Fence })
	took := second.At.Sub(ended.At)
	t.Logf("%v after the end of its context, another leads", took)
	if took > processLease/2 {
		t.Errorf("another leads after %v, want less than half a lease", took)
	}
	s.judge(map[int64]time.Time{})
}

// SIGSTOP for longer than the lease, and SIGCONT: the context of one who was
// replaced meanwhile ends as soon as it runs again; what it writes is
// refused; it follows, and can be elected again.
func TestLeaderProcessStopped(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first := s.leader(0)
	s.signal(first.Who, syscall.SIGSTOP)
	stopped := time.Now()
	second := s.leader(first.Fence)
	time.Sleep(time.Until(stopped.Add(processLease + processLease/4)))
	continued := time.Now().Round(0)
	s.signal(first.Who, syscall.SIGCONT)
	of := func(what string) func(report) bool {
		return func(e report) bool { return e.Who == first.Who && e.What == what && !e.At.Before(continued) }
	}

	ended := s.await("the end of its context", of(hasEnded))
	t.Logf("stopped for %v; its context ended %v after it was continued: %s", continued.Sub(stopped.Round(0)), ended.At.Sub(continued), ended.Err)
	if !strings.Contains(ended.Err, setlock.ErrLost.Error()) || ended.Fence != first.Fence {
		t.Errorf("the context of term %d ended with %q, want term %d and ErrLost", ended.Fence, ended.Err, first.Fence)
	}
	if took := ended.At.Sub(continued); took > processLease/2 {
		t.Errorf("its context ended %v after it was continued, want a twentieth of the lease, and as much as a busy machine needs", took)
	}
	s.await("Check", of(hasChecked))
	changed := s.await("Changes", of(hasChanged))
	if changed.Leads || !strings.Contains(changed.Err, setlock.ErrLost.Error()) {
		t.Errorf("Changes tells first %+v, want the loss", changed)
	}
	s.await("Changes, of the new leader", func(e report) bool {
		return of(hasChanged)(e) && e.Owner == second.Who && e.Fence == second.Fence && !e.Leads
	})
	refused := s.await("a write that is refused", of(hasRefused))
	t.Logf("it wrote in vain, first %v after it was continued", refused.At.Sub(continued))
	if written := s.all(of(hasWritten)); len(written) > 0 {
		t.Errorf("it wrote %d times after it was replaced: %+v", len(written), written[0])
	}

	for name := range s.cast {
		if name != first.Who && name != second.Who {
			s.end(name)
		}
	}
	s.end(second.Who)
	if third := s.leader(second.Fence); third.Who != first.Who {
		t.Errorf("%s leads, want %s, the only one left", third.Who, first.Who)
	}
	s.judge(map[int64]time.Time{first.Fence: stopped})
}

// A server that is stopped for less than a third of the lease costs no leadership.
func TestServerStoppedShortly(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first := s.leader(0)
	for range 3 {
		s.server.Pause()
		time.Sleep(processLease / 6)
		s.server.Continue()
		continued := time.Now().Round(0)
		s.await("a write", func(e report) bool { return e.What == hasWritten && e.At.After(continued.Add(processLease/2)) })
	}
	for _, e := range s.all(func(e report) bool {
		return e.What == hasEnded || e.What == hasRefused || e.What == hasElected && e != first
	}) {
		t.Errorf("%+v, want one term", e)
	}
}
