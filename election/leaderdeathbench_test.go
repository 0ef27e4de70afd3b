package election_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// What BenchmarkLeaderDeath elects.
const (
	manyElections = 10_000
	manyLease     = 10 * time.Second
)

// BenchmarkLeaderDeath measures how ten thousand elections that follow in one process, on one pool of
// 16 connections, are elected after all their leaders have died. In "killed", a process has led them
// all, and is killed. Its keys expire within a third of the lease, because leaders that began together
// do not renew together. In "together", a standIn has held the keys, and all expire at the same moment.
func BenchmarkLeaderDeath(b *testing.B) {
	const n, lease = manyElections, manyLease
	for _, test := range []struct {
		name string
		lead func(b *testing.B, s *redistest.Server) (die func() []ledger)
	}{
		{"killed", func(b *testing.B, s *redistest.Server) func() []ledger { return startLeaders(b, s).kill }},
		{"together", func(b *testing.B, s *redistest.Server) func() []ledger {
			held := newStandIn(b, s, n, lease, 1)
			return func() []ledger {
				held.stop()
				return make([]ledger, n)
			}
		}},
	} {
		b.Run(test.name, func(b *testing.B) {
			for b.Loop() {
				s := redistest.NewServer(b)
				die := test.lead(b, s)
				pool := redistest.Pool(b, s.Dial)
				pool.MaxActive, pool.Wait = 16, true
				all := newFollowers(b, n, pool, lease)
				all.follow(b)
				time.Sleep(lease / 2) // all hear announcements
				death := time.Now()
				terms := die()
				expiries := expiries(b, s, n)
				requests, cpu, serverCPU := commands(b, s), redistest.CPUTime(), serverCPUTime(b, s)
				for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
					missing := all.missing(death)
					if missing == 0 {
						break
					}
					if time.Now().After(deadline) {
						b.Fatalf("%d of %d keys have no leader %v after the death of all leaders", missing, n, time.Since(death))
					}
				}
				b.ReportMetric((redistest.CPUTime() - cpu).Seconds(), "s-cpu")
				b.ReportMetric((serverCPUTime(b, s) - serverCPU).Seconds(), "s-cpu-server")
				b.ReportMetric(float64(commands(b, s)-requests)/n, "requests/key")
				all.stop()
				all.judge(b, terms, death, expiries, lease)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// missing returns how many keys have had no leader in this process since death.
func (f *followers) missing(death time.Time) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, terms := range f.terms {
		if last := len(terms) - 1; last < 0 || !terms[last].end.IsZero() && terms[last].end.Before(death) {
			n++
		}
	}
	return n
}

// judge reports how long after the expiry of its key each follower was elected. earlier is the terms of
// the leaders that died. judge fails b if two have led at once, or if fences have not increased.
func (f *followers) judge(b *testing.B, earlier []ledger, death time.Time, expiries []time.Time, lease time.Duration) {
	var delays []time.Duration
	var last time.Time
	for i, terms := range f.terms {
		key := slices.Concat(earlier[i], terms)
		if d, old, young := key.overlap(time.Now()); d > 0 {
			b.Errorf("two led k%d for %v: %+v and %+v", i, d, old, young)
		}
		for j := 1; j < len(key); j++ {
			if key[j].fence <= key[j-1].fence {
				b.Errorf("k%d: the fence %d after %d", i, key[j].fence, key[j-1].fence)
			}
		}
		first := terms[0].begin
		if first.Before(death) || expiries[i].IsZero() {
			continue // a leader on a busy machine had lost the key before
		}
		delay := first.Sub(expiries[i])
		if delay < -2*time.Millisecond { // Redis counts in milliseconds
			b.Errorf("a follower led k%d %v before the key could expire", i, -delay)
		}
		delays = append(delays, delay)
		if first.After(last) {
			last = first
		}
	}
	b.ReportMetric(float64(f.lost), "lost")
	b.ReportMetric(float64(len(f.terms)-len(delays)), "lost-before")
	if len(delays) > 0 {
		b.ReportMetric((last.Sub(death) - lease).Seconds(), "s-to-last-after-lease")
		b.ReportMetric(quantile(delays, 50), "ms-p50")
		b.ReportMetric(quantile(delays, 99), "ms-p99")
	}
}

// expiries returns when each key expires, or a little earlier. It is zero for a key that has expired.
func expiries(b *testing.B, s *redistest.Server, n int) (all []time.Time) {
	const some = 1000 // at a time
	for from := 0; from < n; from += some {
		at := time.Now()
		left, err := redis.Int64s(redistest.Do(b, s.Dial, "EVAL", `
			local left = {}
			for i = tonumber(ARGV[1]), ARGV[1] + ARGV[2] - 1 do left[#left + 1] = redis.call('PTTL', 'k' .. i) end
			return left`, 0, from, some), nil)
		if err != nil {
			b.Fatal(err)
		}
		for _, ms := range left {
			if ms < 0 {
				all = append(all, time.Time{})
				continue
			}
			all = append(all, at.Add(time.Duration(ms)*time.Millisecond))
		}
	}
	return all
}

// leadersRedis is the environment of a process that leads: host:port of the server.
const leadersRedis = "SETLOCK_TEST_LEADERS_REDIS"

// runLeaders is the process that leads manyElections. It runs until it is killed, or until its standard
// input ends because the process of the benchmark has ended. It reports its terms.
func runLeaders() int {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	pool := &redis.Pool{MaxIdle: 16, MaxActive: 16, Wait: true, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", os.Getenv(leadersRedis), redis.DialConnectTimeout(time.Second))
	}}
	for i := range manyElections {
		a := &actor{name: strconv.Itoa(i), out: json.NewEncoder(os.Stdout)}
		e := &election.Election{Lock: &setlock.Lock{Key: "k" + a.name, Pool: pool, Lease: manyLease}}
		e.OnElected = func(ctx context.Context) error {
			fence, _ := setlock.FenceFromContext(ctx)
			a.tell(report{What: hasElected, Fence: fence})
			<-ctx.Done()
			a.tell(report{What: hasEnded, Fence: fence, Err: context.Cause(ctx).Error()})
			return nil
		}
		go e.Run(context.Background()) // ends with the process
	}
	select {}
}

// leaders are the process of runLeaders.
type leaders struct {
	b     *testing.B
	cmd   *exec.Cmd
	read  sync.WaitGroup // until the process has ended
	terms []ledger       // of each key, complete when read is done
}

// startLeaders starts the process, which ends with b, and waits until it has led every key. It skips b
// if this takes a minute.
func startLeaders(b *testing.B, s *redistest.Server) *leaders {
	program, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	l := &leaders{b: b, cmd: exec.Command(program), terms: make([]ledger, manyElections)}
	l.cmd.Env = append(os.Environ(), leadersRedis+"="+s.Addr)
	l.cmd.Stderr = os.Stderr
	in, err := l.cmd.StdinPipe() // open for as long as this process lives
	if err != nil {
		b.Fatal(err)
	}
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	lead := make(chan struct{})
	l.read.Go(func() { l.listen(out, lead) })
	b.Cleanup(func() {
		l.end()
		in.Close()
	})
	select {
	case <-lead:
	case <-time.After(time.Minute):
		b.Skip("this machine is too busy for so many leaders: they do not lead every key after a minute")
	}
	time.Sleep(manyLease / 3) // they have renewed, and subscribed to announcements
	return l
}

// listen records the terms that the process reports, and closes lead when every key has had one.
func (l *leaders) listen(out io.Reader, lead chan<- struct{}) {
	elected := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e report
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // the process was killed while it wrote the line
		}
		i, _ := strconv.Atoi(e.Who)
		switch e.What {
		case hasElected:
			l.terms[i] = append(l.terms[i], tenure{who: "leader", fence: e.Fence, begin: e.At})
			if len(l.terms[i]) == 1 {
				if elected++; elected == manyElections {
					close(lead)
				}
			}
		case hasEnded:
			l.terms[i][len(l.terms[i])-1].end = e.At
		}
	}
}

// kill kills the process as kill -9 does, and returns its terms.
func (l *leaders) kill() []ledger {
	l.end()
	now := time.Now()
	for _, terms := range l.terms {
		for i := range terms {
			if terms[i].end.IsZero() {
				terms[i].end = now
			}
		}
	}
	return l.terms
}

func (l *leaders) end() {
	l.cmd.Process.Kill() // fails when it has ended
	l.read.Wait()
	l.cmd.Wait()
}
