package election_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
)

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
	in, err := cmd.StdinPipe() // open for as long as this process lives
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

// await waits for a report that matches, and returns the first.
func (s *stage) await(what string, match func(report) bool) report {
	s.t.Helper()
	var found []report
	eventually(s.t, 15*time.Second, what, func() bool {
		found = s.all(match)
		return len(found) > 0
	})
	return found[0]
}

// leader waits until a candidate leads with a fence greater than after, and has written.
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

// end has a candidate end by SIGTERM, and waits for its end.
func (s *stage) end(name string) {
	s.t.Helper()
	s.signal(name, syscall.SIGTERM)
	s.await("the end of "+name, func(e report) bool { return e.Who == name && e.What == hasReturned && e.Err == "" })
}

// left returns how much of the lease is left at a time, or more.
func (s *stage) left() (time.Time, time.Duration) {
	s.t.Helper()
	at := time.Now()
	ms, _ := redis.Int64(redistest.Do(s.t, s.server.Dial, "PTTL", "k"), nil)
	if ms < 0 {
		s.t.Errorf("PTTL = %d, want a lease that runs", ms)
	}
	return at, time.Duration(ms) * time.Millisecond
}

// judge fails t unless fences have increased from term to term, no two terms overlap, and the register
// has accepted no write with a lower fence than the write before. Where a term was cut off, its end is
// in ends, by its fence.
func (s *stage) judge(ends map[int64]time.Time) {
	s.t.Helper()
	for _, e := range s.all(func(e report) bool { return e.What == hasEnded }) {
		if _, cut := ends[e.Fence]; !cut {
			ends[e.Fence] = e.At
		}
	}
	var terms ledger
	for _, e := range s.all(func(e report) bool { return e.What == hasElected }) {
		terms = append(terms, tenure{who: e.Who, fence: e.Fence, begin: e.At, end: ends[e.Fence]})
	}
	slices.SortFunc(terms, func(a, b tenure) int { return a.begin.Compare(b.begin) })
	terms.fences(s.t)
	terms.alone(s.t, 0)
	writes := s.all(func(e report) bool { return e.What == hasWritten })
	slices.SortFunc(writes, func(a, b report) int { return a.Write - b.Write })
	for i := 1; i < len(writes); i++ {
		if writes[i].Fence < writes[i-1].Fence {
			s.t.Errorf("write %d has the fence %d, after %d", writes[i].Write, writes[i].Fence, writes[i-1].Fence)
		}
	}
}
