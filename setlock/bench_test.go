package setlock_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// floor is what acquiring and releasing cannot cost less than on redigo: the two
// scripts, bare, with a fresh value, under a context as redigo takes one, or without.
type floor struct {
	pool             *redis.Pool
	ctx              context.Context // nil: without
	acquire, release *redis.Script

	keys, fences, channels [8]any
}

func newFloor(ctx context.Context, b *testing.B, pool *redis.Pool) *floor {
	read := func(name string, keys int) *redis.Script {
		source, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		return redis.NewScript(keys, string(source))
	}
	f := &floor{pool: pool, ctx: ctx, acquire: read("../internal/protocol/acquire.lua", 2), release: read("../internal/protocol/release.lua", 1)}
	for i := range f.keys {
		key := "floor" + strconv.Itoa(i)
		f.keys[i], f.fences[i], f.channels[i] = key, "{"+key+"}:fence", "setlock:"+key
	}
	return f
}

// run acquires and releases one of 8 keys, for d as Lock does.
func (f *floor) run(b *testing.B, i int, d time.Duration) {
	var value any = rand.Text()
	key, fence, channel := f.keys[i], f.fences[i], f.channels[i]
	f.do(b, f.acquire, key, fence, value, d.Milliseconds(), 7200000, channel, "")
	f.do(b, f.release, key, channel, value)
}

func (f *floor) do(b *testing.B, script *redis.Script, args ...any) {
	var err error
	if f.ctx == nil {
		conn := f.pool.Get()
		_, err = script.Do(conn, args...)
		conn.Close()
	} else {
		var conn redis.Conn
		if conn, err = f.pool.GetContext(f.ctx); err == nil {
			_, err = script.DoContext(f.ctx, conn, args...)
			conn.Close()
		}
	}
	if err != nil {
		b.Error(err)
	}
}

// compare runs f beside the floor, in turns, by each of so many goroutines on a key of its
// own, and reports the ratios of the median times and of the CPU time of this process, and the
// allocations above the floor's.
func compare(b *testing.B, fl *floor, goroutines int, f func(i int)) {
	const batch = 16
	type cost struct {
		times  []time.Duration
		cpu    time.Duration
		allocs uint64
	}
	var floors, costs cost
	measure := func(c *cost, f func(i int)) {
		var before, after runtime.MemStats
		counted := len(c.times)%256 == 0 // it stops the world
		if counted {
			runtime.ReadMemStats(&before)
		}
		cpu, start := redistest.CPUTime(), time.Now()
		var wg sync.WaitGroup
		for i := 1; i < goroutines; i++ {
			wg.Go(func() {
				for range batch {
					f(i)
				}
			})
		}
		for range batch {
			f(0)
		}
		wg.Wait()
		c.times = append(c.times, time.Since(start)/batch)
		c.cpu += redistest.CPUTime() - cpu
		if counted {
			runtime.ReadMemStats(&after)
			c.allocs = after.Mallocs - before.Mallocs
		}
	}
	bare := func(i int) { fl.run(b, i, time.Minute) }
	for i := range goroutines { // scripts, connections
		bare(i)
		f(i)
	}
	for b.Loop() {
		b.StopTimer()
		measure(&floors, bare)
		b.StartTimer()
		measure(&costs, f)
	}
	b.ReportMetric(float64(median(costs.times))/float64(median(floors.times)), "x-floor")
	b.ReportMetric(float64(costs.cpu)/float64(floors.cpu), "x-floor-cpu")
	b.ReportMetric(float64(median(floors.times).Nanoseconds()), "ns-floor")
	b.ReportMetric(float64(median(costs.times).Nanoseconds()), "ns-median")
	b.ReportMetric((float64(costs.allocs)-float64(floors.allocs))/float64(batch*goroutines), "allocs-over-floor")
}

func median(d []time.Duration) time.Duration { return quantile(d, 50) }

func quantile(d []time.Duration, percent int) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(len(d)*percent/100, len(d)-1)]
}

func BenchmarkLockUnlock(b *testing.B) {
	s := redistest.NewServer(b)
	pool := redistest.Pool(b, s.Dial)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for _, test := range []struct {
		name       string
		ctx, floor context.Context
		goroutines int
	}{
		{"background", context.Background(), nil, 1},
		{"cancellable", ctx, ctx, 1},
		{"cancellable/floor-without", ctx, nil, 1},
		{"background/8-keys", context.Background(), nil, 8},
		{"cancellable/8-keys", ctx, ctx, 8},
	} {
		b.Run(test.name, func(b *testing.B) {
			fl := newFloor(test.floor, b, pool)
			var locks []*setlock.Lock
			for i := range test.goroutines {
				locks = append(locks, &setlock.Lock{Key: "k" + strconv.Itoa(i), Pool: pool})
			}
			compare(b, fl, test.goroutines, func(i int) {
				if _, err := locks[i].Lock(test.ctx, time.Minute); err != nil {
					b.Error(err)
				}
				if err := locks[i].Unlock(test.ctx); err != nil {
					b.Error(err)
				}
			})
		})
	}
}

func BenchmarkEmptyDo(b *testing.B) {
	s := redistest.NewServer(b)
	pool := redistest.Pool(b, s.Dial)
	l := &setlock.Lock{Key: "k", Pool: pool}
	for _, test := range []struct {
		name  string
		floor context.Context
	}{{"floor-with-context", b.Context()}, {"floor-without", nil}} {
		b.Run(test.name, func(b *testing.B) {
			compare(b, newFloor(test.floor, b, pool), 1, func(int) {
				if err := l.Do(b.Context(), func(context.Context) error { return nil }); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// How long it takes until a holder is told that another has its key.
func BenchmarkTold(b *testing.B) {
	s := redistest.NewServer(b)
	l := &setlock.Lock{Key: "k", Pool: redistest.Pool(b, s.Dial), Lease: time.Second}
	thief := &setlock.Lock{Key: "k", Pool: redistest.Pool(b, s.Dial), Lease: time.Second}
	var times []time.Duration
	for b.Loop() {
		var told time.Duration
		err := l.Do(b.Context(), func(ctx context.Context) error {
			time.Sleep(100 * time.Millisecond) // until it listens
			redistest.Do(b, s.Dial, "DEL", "k")
			start := time.Now()
			if _, err := thief.Lock(b.Context(), time.Minute); err != nil {
				b.Fatal(err)
			}
			<-ctx.Done()
			told = time.Since(start)
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) {
			b.Fatal(err)
		}
		times = append(times, told)
		if err := thief.Unlock(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(0, "ns/op") // most of it is waiting
	b.ReportMetric(float64(median(times).Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(quantile(times, 99).Microseconds())/1000, "ms-p99")
}

// A call with a context of 300 ms on a Redis that is stopped.
func BenchmarkStopped(b *testing.B) {
	s := redistest.NewServer(b)
	stuck := make(chan struct{})
	pools := map[string]*redis.Pool{
		"idle":      redistest.Pool(b, s.Dial),
		"new":       redistest.Pool(b, s.Dial),
		"exhausted": redistest.Pool(b, s.Dial),
		"stuck": {Dial: func() (redis.Conn, error) {
			<-stuck
			return nil, errors.New("stuck")
		}},
	}
	pools["new"].MaxIdle = 0
	pools["exhausted"].MaxActive, pools["exhausted"].Wait = 1, true
	conn := pools["exhausted"].Get()
	defer conn.Close()
	defer close(stuck)
	for name, pool := range pools {
		b.Run(name, func(b *testing.B) {
			l := &setlock.Lock{Key: "k", Pool: pool}
			if name == "idle" {
				conn := pool.Get()
				conn.Do("PING")
				conn.Close()
			}
			s.Pause()
			defer s.Continue()
			var longest time.Duration
			for b.Loop() {
				ctx, cancel := context.WithTimeout(b.Context(), 300*time.Millisecond)
				start := time.Now()
				if _, err := l.Lock(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
					b.Fatalf("Lock = %v, want a timeout", err)
				}
				longest = max(longest, time.Since(start))
				cancel()
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
		})
	}
}
