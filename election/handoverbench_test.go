package election_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
)

// handOverFloor returns a function that does one bare hand-over, in which every waiter tries: it runs
// the release script, which publishes, each candidate receives the message, each waiter runs the
// acquire script, and the time of the winner counts. A candidate of an election that hears of the
// winner in time does not try, so with many waiters its hand-over may be faster.
func handOverFloor(b *testing.B, s *redistest.Server, waiters int, pool func(i int) *redis.Pool, own bool) func() time.Duration {
	script := func(name string, keys int) *redis.Script {
		source, err := os.ReadFile("../internal/protocol/" + name)
		if err != nil {
			b.Fatal(err)
		}
		return redis.NewScript(keys, string(source))
	}
	acquire, release := script("acquire.lua", 2), script("release.lua", 1)
	type outcome struct {
		waiter int
		won    bool
		at     time.Time
	}
	outcomes := make(chan outcome, waiters)
	try := func(i int) {
		conn := pool(i).Get()
		defer conn.Close()
		reply, err := redis.Int64s(acquire.Do(conn, "floor", "{floor}:fence", i, 60000, 3600000, "setlock:floor", ""))
		if err != nil {
			b.Error(err)
			reply = []int64{0}
		}
		outcomes <- outcome{i, reply[0] == 1, time.Now()}
	}
	// listen calls f for each message that tells of a release.
	listen := func(pool *redis.Pool, f func()) {
		conn := pool.Get()
		psc := redis.PubSubConn{Conn: conn}
		if err := psc.Subscribe("setlock:floor"); err != nil {
			b.Fatal(err)
		}
		psc.Receive()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				switch m := psc.Receive().(type) {
				case error:
					return
				case redis.Message:
					if strings.HasPrefix(string(m.Data), "released") {
						f()
					}
				}
			}
		}()
		b.Cleanup(func() {
			psc.Unsubscribe()
			redis.ReceiveContext(conn, passed{context.Background()}) // ends Receive
			<-ended
			conn.Close()
		})
	}
	released := make([]atomic.Bool, waiters+1) // by its own release, of which it hears and after which it does not try
	if own {
		for i := range waiters + 1 {
			listen(pool(i), func() {
				if !released[i].Swap(false) {
					try(i)
				}
			})
		}
	} else {
		listen(pool(0), func() {
			for i := range waiters + 1 {
				if !released[i].Swap(false) {
					go try(i)
				}
			}
		})
	}
	try(0)
	holder := (<-outcomes).waiter
	return func() time.Duration {
		conn := pool(holder).Get()
		released[holder].Store(true)
		start := time.Now()
		go func(value int) {
			defer conn.Close()
			if _, err := release.Do(conn, "floor", "setlock:floor", value); err != nil {
				b.Error(err)
			}
		}(holder)
		var won time.Duration
		for range waiters {
			if o := <-outcomes; o.won {
				won, holder = o.at.Sub(start), o.waiter
			}
		}
		return won
	}
}

// passed is a context whose deadline has passed. redigo closes a connection on which it should
// receive by then.
type passed struct{ context.Context }

func (passed) Deadline() (time.Time, bool) { return time.Unix(0, 0), true }

// The time from the return of the leader's OnElected until the OnElected of another candidate is
// called, and the time from the call of Resign, which has no floor. The waiters have a pool each, or
// share one pool.
func BenchmarkHandOver(b *testing.B) {
	for _, test := range []struct {
		waiters int
		own     bool
	}{{1, true}, {100, true}, {100, false}} {
		b.Run(fmt.Sprintf("waiters=%d/own-pools=%v", test.waiters, test.own), func(b *testing.B) {
			s := redistest.NewServer(b)
			pools := make([]*redis.Pool, 1)
			if test.own {
				pools = make([]*redis.Pool, test.waiters+1)
			}
			for i := range pools {
				pools[i] = redistest.Pool(b, s.Dial)
				pools[i].MaxActive, pools[i].Wait = 16, true
			}
			pool := func(i int) *redis.Pool { return pools[i%len(pools)] }
			floor := handOverFloor(b, s, test.waiters, pool, test.own)
			const lease = 10 * time.Second
			c := newCrowd(b, "k", test.waiters+1, lease, pool)
			defer c.stop()
			leader := <-c.elected
			time.Sleep(time.Second)
			var times, resigns, floors []time.Duration
			requests := 0
			for b.Loop() {
				floors = append(floors, floor())
				time.Sleep(lease/20 + 200*time.Millisecond) // the resigned candidate waits again, and the leader listens
				before := commands(b, s)
				start := time.Now()
				leader.Resign()
				leader = <-c.elected
				resigns = append(resigns, leader.at.Sub(start))
				times = append(times, leader.at.Sub(<-c.ended))
				time.Sleep(200 * time.Millisecond)
				requests += commands(b, s) - before // those of the resigned candidate included
			}
			b.ReportMetric(0, "ns/op") // most of it is waiting
			b.ReportMetric(quantile(times, 50), "ms-p50")
			b.ReportMetric(quantile(times, 99), "ms-p99")
			b.ReportMetric(quantile(resigns, 50), "ms-resign-p50")
			b.ReportMetric(quantile(floors, 50), "ms-floor-p50")
			b.ReportMetric(quantile(floors, 99), "ms-floor-p99")
			b.ReportMetric(quantile(times, 50)/quantile(floors, 50), "x-floor-p50")
			b.ReportMetric(quantile(times, 99)/quantile(floors, 99), "x-floor-p99")
			b.ReportMetric(float64(requests)/float64(len(times)), "requests")
		})
	}
}

// The time from the call of Resign until another of five candidates is elected, after leaders that
// resign at once and after leaders that have led for a while.
func BenchmarkResign(b *testing.B) {
	for _, led := range []time.Duration{0, 200 * time.Millisecond} {
		b.Run(fmt.Sprintf("led=%v", led), func(b *testing.B) {
			s := redistest.NewServer(b)
			c := newCrowd(b, "k", 5, 2*time.Second, func(int) *redis.Pool { return redistest.Pool(b, s.Dial) })
			defer c.stop()
			leader := <-c.elected
			time.Sleep(time.Second)
			var times []time.Duration
			again := 0
			for b.Loop() {
				time.Sleep(led)
				start := time.Now()
				leader.Resign()
				next := <-c.elected
				times = append(times, next.at.Sub(start))
				if next.Election == leader.Election {
					again++
				}
				leader = next
			}
			b.ReportMetric(0, "ns/op") // most of it is waiting
			b.ReportMetric(quantile(times, 50), "ms-p50")
			b.ReportMetric(quantile(times, 90), "ms-p90")
			b.ReportMetric(float64(again), "again")
		})
	}
}
