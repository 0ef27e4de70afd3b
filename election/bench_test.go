package election_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// A crowd is candidates that report their elections, and when their terms end.
type crowd struct {
	elected chan elected
	ended   chan time.Time // the newest
	stop    func()
}

type elected struct {
	*election.Election
	at time.Time
}

func newCrowd(b *testing.B, key string, n int, lease time.Duration, pool func(i int) *redis.Pool) *crowd {
	c := &crowd{elected: make(chan elected, n), ended: make(chan time.Time, 1)}
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	for i := range n {
		e := &election.Election{Lock: &setlock.Lock{Key: key, Pool: pool(i), Owner: strconv.Itoa(i), Lease: lease}}
		e.OnElected = func(ctx context.Context) error {
			c.elected <- elected{e, time.Now()}
			<-ctx.Done()
			select {
			case <-c.ended:
			default:
			}
			c.ended <- time.Now()
			return nil
		}
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

// The time from the expiry of the lock of a dead holder until another candidate is elected. Each run
// has twenty dead holders, one after the other.
func BenchmarkCrash(b *testing.B) {
	for _, lease := range []time.Duration{500 * time.Millisecond, 15 * time.Second} {
		for _, keys := range []int{0, 100_000} {
			b.Run(fmt.Sprintf("lease=%v/keys=%d", lease, keys), func(b *testing.B) {
				s := redistest.NewServer(b)
				pool := redistest.Pool(b, s.Dial)
				var crowds []*crowd
				var leaders []*election.Election
				for i := range 20 {
					c := newCrowd(b, "k"+strconv.Itoa(i), 2, lease, func(int) *redis.Pool { return pool })
					defer c.stop()
					crowds = append(crowds, c)
					leaders = append(leaders, (<-c.elected).Election)
				}
				var mu sync.Mutex
				var times []time.Duration
				for b.Loop() {
					// A thousand of them expire in each second, and nearly all are there when a
					// run begins.
					const some = 1000 // at a time, for the leaders renew
					for from := 0; from < keys; from += some {
						redistest.Do(b, s.Dial, "EVAL", "for i = ARGV[1] + 1, ARGV[1] + ARGV[2] do redis.call('SET', 'other' .. i, i, 'PX', 1000 + i) end return 1", 0, from, some)
					}
					if keys > 0 {
						time.Sleep(time.Second) // the first of them expire
					}
					var wg sync.WaitGroup
					for i, c := range crowds {
						wg.Go(func() {
							time.Sleep(time.Duration(i) * 37 * time.Millisecond)
							expiry := time.Now().Add(lease) // or a little later
							// A dead holder takes the key from the leader.
							redistest.Do(b, s.Dial, "SET", "k"+strconv.Itoa(i), "dead", "PX", lease.Milliseconds())
							<-waitFor(leaders[i])
							next := <-c.elected
							leaders[i] = next.Election
							mu.Lock()
							defer mu.Unlock()
							times = append(times, next.at.Sub(expiry))
						})
					}
					wg.Wait()
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(quantile(times, 50), "ms-p50")
				b.ReportMetric(quantile(times, 99), "ms-p99")
			})
		}
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

// How many requests a leader and its followers, each with a pool of its own, send while
// nothing happens.
func BenchmarkIdle(b *testing.B) {
	for _, followers := range []int{0, 1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("followers=%d", followers), func(b *testing.B) {
			const lease, leases = 2 * time.Second, 10
			s := redistest.NewServer(b)
			c := newCrowd(b, "k", followers+1, lease, func(int) *redis.Pool { return redistest.Pool(b, s.Dial) })
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
	for first := true; b.Loop(); first = false {
		s := redistest.NewServer(b)
		pool := redistest.Pool(b, s.Dial)
		pool.MaxActive, pool.Wait = 16, true
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		goroutines := runtime.NumGoroutine()
		start := time.Now()
		all := newThrong(b, n, pool, lease)
		<-all.lead
		b.ReportMetric(time.Since(start).Seconds(), "s-to-lead")
		time.Sleep(lease)
		if first { // the next one has the goroutines of this one
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n/1024, "KiB-live-heap/election")
			b.ReportMetric(float64(after.HeapInuse-before.HeapInuse)/n/1024, "KiB-heap/election")
			b.ReportMetric(float64(after.StackInuse-before.StackInuse)/n/1024, "KiB-stack/election")
		}
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/n, "goroutines/election")
		cpu, requests := redistest.CPUTime(), commands(b, s)
		burst, last, from := 0.0, requests, time.Now() // requests a second, in the worst fifth of one
		began := from
		for range int(2 * lease / (200 * time.Millisecond)) {
			time.Sleep(200 * time.Millisecond)
			now, at := commands(b, s), time.Now()
			burst = max(burst, float64(now-last)/at.Sub(from).Seconds())
			last, from = now, at
		}
		requests = last - requests
		mean := float64(requests) / from.Sub(began).Seconds()
		b.ReportMetric(mean*lease.Seconds()/n, "requests/lease/election")
		b.ReportMetric(float64((redistest.CPUTime()-cpu).Microseconds())/float64(requests), "µs-cpu/request")
		b.ReportMetric(burst/mean, "x-burst")
		stop := time.Now()
		all.stop()
		b.ReportMetric(time.Since(stop).Seconds(), "s-to-end")
		b.ReportMetric(float64(all.lost.Load()), "lost")
		if all.lost.Load() > 0 {
			b.Errorf("%d of %d elections lost their leadership in calm", all.lost.Load(), n)
		}
	}
	b.ReportMetric(0, "ns/op")
}
