package election_test

import (
	"context"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// BenchmarkFollowers measures ten thousand elections that follow in one process, on one pool of 16
// connections. A standIn holds their locks. It adds about a hundredth of a core to what is measured,
// and its requests do not count.
func BenchmarkFollowers(b *testing.B) {
	const n, lease = 10_000, 10 * time.Second
	for first := true; b.Loop(); first = false {
		s := redistest.NewServer(b)
		held := newStandIn(b, s, n, lease, 100)
		pool := redistest.Pool(b, s.Dial)
		pool.MaxActive, pool.Wait = 16, true
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		goroutines := runtime.NumGoroutine()
		start := time.Now()
		all := newFollowers(b, n, pool, lease)
		all.follow(b)
		b.ReportMetric(time.Since(start).Seconds(), "s-to-follow")
		time.Sleep(lease)
		if first { // the next one has the goroutines of this one
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n/1024, "KiB-live-heap/follower")
			b.ReportMetric(float64(after.StackInuse-before.StackInuse)/n/1024, "KiB-stack/follower")
		}
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/n, "goroutines/follower")

		count := func() int { return commands(b, s) - int(held.requests.Load()) }
		began, cpu, serverCPU, from := time.Now(), redistest.CPUTime(), serverCPUTime(b, s), count()
		worst, last, at := 0.0, from, began // requests a second, in the worst second
		for range int(2 * lease / time.Second) {
			time.Sleep(time.Second)
			now := count()
			worst = max(worst, float64(now-last)/time.Since(at).Seconds())
			last, at = now, time.Now()
		}
		took := time.Since(began)
		mean := float64(last-from) / took.Seconds()
		b.ReportMetric(100*(redistest.CPUTime()-cpu).Seconds()/took.Seconds(), "%-of-a-core")
		b.ReportMetric(100*(serverCPUTime(b, s)-serverCPU).Seconds()/took.Seconds(), "%-of-a-core-server")
		b.ReportMetric(mean, "requests/s")
		b.ReportMetric(mean*lease.Seconds()/n, "requests/lease/follower")
		b.ReportMetric(worst/mean, "x-worst-second")
		stop := time.Now()
		all.stop()
		b.ReportMetric(time.Since(stop).Seconds(), "s-to-end")
		held.stop()
		b.ReportMetric(float64(all.elected()), "elected") // above 0, the figures mean nothing: keys were not renewed in time
	}
	b.ReportMetric(0, "ns/op")
}

// followers are elections in this process on one pool, each for a key of its own. They follow until
// the holder of their key dies.
type followers struct {
	elections []*election.Election
	stop      func() // ends all, and waits for their ends

	mu    sync.Mutex
	terms []ledger // of each election
	lost  int      // terms that a loss has ended
}

func newFollowers(b *testing.B, n int, pool *redis.Pool, lease time.Duration) *followers {
	f := &followers{terms: make([]ledger, n)}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	for i := range n {
		e := &election.Election{Lock: &setlock.Lock{Key: "k" + strconv.Itoa(i), Pool: pool, Lease: lease}}
		e.OnElected = func(ctx context.Context) error {
			f.lead(ctx, i)
			return nil
		}
		f.elections = append(f.elections, e)
		wg.Go(func() {
			if err := e.Run(ctx); err != nil {
				b.Errorf("Run: %v", err)
			}
		})
	}
	f.stop = func() {
		cancel()
		wg.Wait()
	}
	b.Cleanup(f.stop)
	return f
}

// lead is the OnElected of election i.
func (f *followers) lead(ctx context.Context, i int) {
	t := tenure{who: "follower", begin: time.Now()}
	t.fence, _ = setlock.FenceFromContext(ctx)
	f.mu.Lock()
	term := len(f.terms[i])
	f.terms[i] = append(f.terms[i], t)
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.terms[i][term].end = time.Now()
	if context.Cause(ctx) != context.Canceled {
		f.lost++
	}
}

// follow waits until every election has known a leader. It skips b if this takes a minute.
func (f *followers) follow(b *testing.B) {
	deadline := time.Now().Add(time.Minute)
	for i, e := range f.elections {
		for e.Leader().Nobody() {
			if time.Now().After(deadline) {
				b.Skipf("this machine is too busy for so many elections: the one for k%d knows no leader after a minute", i)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// elected returns how many terms have begun.
func (f *followers) elected() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, terms := range f.terms {
		n += len(terms)
	}
	return n
}

// A standIn holds keys in place of leaders in another process.
type standIn struct {
	requests atomic.Int64 // that it has sent
	stop     func()       // renews every key once more, and then none
}

// newStandIn acquires n keys, and renews each a little before a third of the lease has passed. A round
// of renewals has so many steps, evenly spread. With one step, all keys expire at the same moment.
func newStandIn(b *testing.B, s *redistest.Server, n int, lease time.Duration, steps int) *standIn {
	h := new(standIn)
	conn := redistest.Pool(b, s.Dial).Get()
	each, value := n/steps, protocol.NewValue("stand-in")
	renew := func(step, steps int) {
		_, err := conn.Do("EVAL", `
			for i = 0, ARGV[2] - 1 do
				local key = 'k' .. string.format('%.0f', (ARGV[1] + i) % ARGV[3])
				local held = redis.call('GET', key)
				if not held or held == ARGV[5] then
					redis.call('SET', key, ARGV[5], 'PX', ARGV[4])
					redis.call('SET', '{' .. key .. '}:fence', 1, 'NX')
				end
			end
			return 1`, 0, step*each%n, steps*each, n, lease.Milliseconds(), value)
		if err != nil {
			b.Error(err)
		}
		h.requests.Add(1)
	}
	renew(0, steps)
	ctx, cancel := context.WithCancel(b.Context())
	start, pause := time.Now(), lease*32/100/time.Duration(steps)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for done := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C: // on a busy machine, several steps may be due
				due := int(time.Since(start) / pause)
				renew(done, min(due-done, steps))
				done = due
			}
		}
	})
	h.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		renew(0, steps)
		conn.Close()
	})
	b.Cleanup(h.stop)
	return h
}

// serverCPUTime returns the processor time that the server has used.
func serverCPUTime(b *testing.B, s *redistest.Server) (sum time.Duration) {
	info, _ := redis.String(redistest.Do(b, s.Dial, "INFO", "cpu"), nil)
	for line := range strings.Lines(info) {
		for _, name := range []string{"used_cpu_sys:", "used_cpu_user:"} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				seconds, _ := strconv.ParseFloat(strings.TrimSpace(rest), 64)
				sum += time.Duration(seconds * float64(time.Second))
			}
		}
	}
	return sum
}
