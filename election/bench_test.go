package election_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func quantile(d []time.Duration, percent int) float64 {
	d = slices.Clone(d)
	slices.Sort(d)
	return float64(d[min(len(d)*percent/100, len(d)-1)].Microseconds()) / 1000
}

// A crowd is candidates that tell when they are elected.
type crowd struct {
	elections []*election.Election
	elected   chan *election.Election
	stop      func()
}

func newCrowd(b *testing.B, n int, lease time.Duration, pool func(i int) *redis.Pool) *crowd {
	c := &crowd{elected: make(chan *election.Election, n)}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	for i := range n {
		e := &election.Election{Lock: &setlock.Lock{Key: "k", Pool: pool(i), Owner: strconv.Itoa(i), Lease: lease}}
		e.OnElected = func(ctx context.Context) error {
			c.elected <- e
			<-ctx.Done()
			return nil
		}
		c.elections = append(c.elections, e)
		wg.Go(func() {
			if err := e.Run(ctx); err != nil {
				b.Error(err)
			}
		})
	}
	c.stop = func() {
		cancel()
		wg.Wait()
	}
	return c
}

// commands returns how many requests of clients the server has run, without
// what scripts call.
func commands(b *testing.B, s *redistest.Server) (n int) {
	info, _ := redis.String(redistest.Do(b, s.Dial, "INFO", "commandstats"), nil)
	for line := range strings.Lines(info) {
		for _, name := range []string{"eval", "evalsha", "ping", "subscribe", "unsubscribe"} {
			if rest, ok := strings.CutPrefix(line, "cmdstat_"+name+":calls="); ok {
				calls, _, _ := strings.Cut(rest, ",")
				k, _ := strconv.Atoi(calls)
				n += k
			}
		}
	}
	return n
}

// handOverFloor is what a hand-over cannot do without: a release that publishes, a
// message to a subscriber, and a script for every waiter, of which one is
// waited for.
func handOverFloor(b *testing.B, s *redistest.Server, waiters int) func() time.Duration {
	pool := redistest.Pool(b, s.Dial)
	pool.MaxActive, pool.Wait = 16, true
	acquire := redis.NewScript(1, "return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', 60000) and 1 or redis.call('PTTL', KEYS[1])")
	release := redis.NewScript(1, "redis.call('DEL', KEYS[1]) redis.call('PUBLISH', KEYS[1], 'released') return 1")
	subscriber := pool.Get()
	b.Cleanup(func() { subscriber.Close() })
	psc := redis.PubSubConn{Conn: subscriber}
	if err := psc.Subscribe("floor"); err != nil {
		b.Fatal(err)
	}
	psc.Receive()
	run := func(script *redis.Script) {
		conn := pool.Get()
		defer conn.Close()
		if _, err := script.Do(conn, "floor", "value"); err != nil {
			b.Error(err)
		}
	}
	return func() time.Duration {
		start := time.Now()
		go run(release)
		psc.Receive()
		first := make(chan time.Time, waiters)
		var wg sync.WaitGroup
		for range waiters {
			wg.Go(func() {
				run(acquire)
				first <- time.Now()
			})
		}
		at := <-first
		wg.Wait()
		return at.Sub(start)
	}
}

func BenchmarkHandOver(b *testing.B) {
	for _, waiters := range []int{1, 100} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			s := redistest.NewServer(b)
			floor := handOverFloor(b, s, waiters)
			pool := redistest.Pool(b, s.Dial)
			pool.MaxActive, pool.Wait = 16, true
			c := newCrowd(b, waiters+1, 10*time.Second, func(int) *redis.Pool { return pool })
			defer c.stop()
			leader := <-c.elected
			time.Sleep(time.Second)
			var times, floors []time.Duration
			requests := 0
			for b.Loop() {
				floors = append(floors, floor())
				time.Sleep(200 * time.Millisecond) // who resigned is back among the waiters
				before := commands(b, s)
				start := time.Now()
				leader.Resign()
				leader = <-c.elected
				times = append(times, time.Since(start))
				time.Sleep(20 * time.Millisecond)
				requests += commands(b, s) - before
			}
			b.ReportMetric(0, "ns/op") // most of it is waiting
			b.ReportMetric(quantile(times, 50), "ms-p50")
			b.ReportMetric(quantile(times, 99), "ms-p99")
			b.ReportMetric(quantile(floors, 50), "ms-floor")
			b.ReportMetric(quantile(times, 50)/quantile(floors, 50), "x-floor")
			b.ReportMetric(float64(requests)/float64(len(times)), "requests")
		})
	}
}

// From the true expiry of the lock of a holder that died.
func BenchmarkCrash(b *testing.B) {
	for _, keys := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			const lease = 500 * time.Millisecond
			s := redistest.NewServer(b)
			if keys > 0 {
				redistest.Do(b, s.Dial, "EVAL", "for i = 1, ARGV[1] do redis.call('SET', 'other' .. i, i, 'PX', 1000 + i) end return 1", 0, keys)
			}
			pool := redistest.Pool(b, s.Dial)
			c := newCrowd(b, 2, lease, func(int) *redis.Pool { return pool })
			defer c.stop()
			leader := <-c.elected
			var times []time.Duration
			for b.Loop() {
				expiry := time.Now().Add(lease) // or a little later
				// One that is dead takes the key from under the leader.
				redistest.Do(b, s.Dial, "SET", "k", "dead", "PX", lease.Milliseconds())
				<-waitFor(leader)
				leader = <-c.elected
				times = append(times, time.Since(expiry))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(quantile(times, 50), "ms-p50")
			b.ReportMetric(quantile(times, 99), "ms-p99")
		})
	}
}

// waitFor returns a channel that is closed when e leads no more.
func waitFor(e *election.Election) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e.IsLeader() {
			time.Sleep(time.Millisecond)
		}
	}()
	return done
}

// What a leader and its followers, each with a pool of its own, send while nothing happens.
func BenchmarkIdle(b *testing.B) {
	for _, followers := range []int{0, 1, 10, 100} {
		b.Run(fmt.Sprintf("followers=%d", followers), func(b *testing.B) {
			const lease, leases = 2 * time.Second, 10
			s := redistest.NewServer(b)
			c := newCrowd(b, followers+1, lease, func(int) *redis.Pool { return redistest.Pool(b, s.Dial) })
			defer c.stop()
			<-c.elected
			time.Sleep(2 * lease)
			requests := 0.0
			for b.Loop() {
				before := commands(b, s)
				time.Sleep(leases * lease)
				requests += float64(commands(b, s)-before) / leases
			}
			b.ReportMetric(0, "ns/op")
			requests /= float64(b.N)
			if followers == 0 {
				b.ReportMetric(requests, "requests/lease")
				return
			}
			b.ReportMetric((requests-3)/float64(followers), "requests/lease/follower")
		})
	}
}

// Ten thousand elections in one process, on one pool of 16 connections.
func BenchmarkScale(b *testing.B) {
	const n, lease = 10_000, 10 * time.Second
	for b.Loop() {
		s := redistest.NewServer(b)
		pool := redistest.Pool(b, s.Dial)
		pool.MaxActive, pool.Wait = 16, true
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		goroutines := runtime.NumGoroutine()
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		var leading, lost atomic.Int64
		all := make(chan struct{})
		start := time.Now()
		for i := range n {
			e := &election.Election{Lock: &setlock.Lock{Key: "k" + strconv.Itoa(i), Pool: pool, Lease: lease}}
			e.OnElected = func(ctx context.Context) error {
				if leading.Add(1) == n {
					close(all)
				}
				<-ctx.Done()
				if context.Cause(ctx) != context.Canceled {
					lost.Add(1)
				}
				return nil
			}
			wg.Go(func() {
				if err := e.Run(ctx); err != nil {
					b.Error(err)
				}
			})
		}
		<-all
		b.ReportMetric(time.Since(start).Seconds(), "s-to-lead")
		time.Sleep(lease)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapInuse-before.HeapInuse)/n/1024, "KiB-heap/election")
		b.ReportMetric(float64(after.StackInuse-before.StackInuse)/n/1024, "KiB-stack/election")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/n, "goroutines/election")
		cpu, requests := cpuTime(), commands(b, s)
		burst, last := 0, requests
		for range int(2 * lease / (200 * time.Millisecond)) {
			time.Sleep(200 * time.Millisecond)
			now := commands(b, s)
			burst, last = max(burst, now-last), now
		}
		requests = last - requests
		b.ReportMetric(float64(requests)/n/2, "requests/lease/election")
		b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(requests), "µs-cpu/request")
		b.ReportMetric(float64(burst)/(float64(requests)/100), "x-burst")
		stop := time.Now()
		cancel()
		wg.Wait()
		b.ReportMetric(time.Since(stop).Seconds(), "s-to-end")
		b.ReportMetric(float64(lost.Load()), "lost")
		if lost.Load() > 0 {
			b.Errorf("%d of %d elections lost their leadership in calm", lost.Load(), n)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
