package setlock_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// floor is what acquiring and releasing cannot cost less than on redigo: the two
// scripts, bare, with a fresh value.
type floor struct {
	pool             *redis.Pool
	acquire, release *redis.Script
}

func newFloor(b *testing.B, pool *redis.Pool) *floor {
	read := func(name string, keys int) *redis.Script {
		source, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		return redis.NewScript(keys, string(source))
	}
	return &floor{pool, read("acquire.lua", 2), read("release.lua", 1)}
}

func (f *floor) run(b *testing.B) {
	value := rand.Text()
	conn := f.pool.Get()
	_, err := f.acquire.Do(conn, "floor", "{floor}:fence", value, 60000, 3600000, "setlock:floor", "")
	conn.Close()
	if err != nil {
		b.Fatal(err)
	}
	conn = f.pool.Get()
	_, err = f.release.Do(conn, "floor", "setlock:floor", value)
	conn.Close()
	if err != nil {
		b.Fatal(err)
	}
}

// compare runs f beside the floor, in turns, and reports the ratio of the medians,
// and the allocations above the floor's.
func compare(b *testing.B, fl *floor, f func()) {
	const batch = 16
	var floors, times []time.Duration
	var before, middle, after runtime.MemStats
	var allocs int64
	runs := 0
	for range 4 { // scripts, connections
		fl.run(b)
		f()
	}
	for b.Loop() {
		b.StopTimer()
		if runs%256 == 0 {
			runtime.ReadMemStats(&before)
		}
		start := time.Now()
		for range batch {
			fl.run(b)
		}
		floors = append(floors, time.Since(start)/batch)
		if runs%256 == 0 {
			runtime.ReadMemStats(&middle)
		}
		b.StartTimer()
		start = time.Now()
		for range batch {
			f()
		}
		times = append(times, time.Since(start)/batch)
		if runs%256 == 0 {
			runtime.ReadMemStats(&after)
			allocs = int64(after.Mallocs-middle.Mallocs) - int64(middle.Mallocs-before.Mallocs)
		}
		runs++
	}
	b.ReportMetric(float64(median(times))/float64(median(floors)), "x-floor")
	b.ReportMetric(float64(median(floors).Nanoseconds()), "ns-floor")
	b.ReportMetric(float64(median(times).Nanoseconds()), "ns-median")
	b.ReportMetric(float64(allocs)/batch, "allocs-over-floor")
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
	fl := newFloor(b, pool)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for name, ctx := range map[string]context.Context{"background": context.Background(), "cancellable": ctx} {
		b.Run(name, func(b *testing.B) {
			l := &setlock.Lock{Key: "k", Pool: pool}
			compare(b, fl, func() {
				if _, err := l.Lock(ctx, time.Minute); err != nil {
					b.Fatal(err)
				}
				if err := l.Unlock(ctx); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

func BenchmarkEmptyDo(b *testing.B) {
	s := redistest.NewServer(b)
	pool := redistest.Pool(b, s.Dial)
	fl := newFloor(b, pool)
	l := &setlock.Lock{Key: "k", Pool: pool}
	compare(b, fl, func() {
		if err := l.Do(b.Context(), func(context.Context) error { return nil }); err != nil {
			b.Fatal(err)
		}
	})
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
