package election_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// Ten thousand elections in one process, on one pool of 16 connections: all lead, none loses in calm,
// their requests are few and evenly spread, and all end and leave nothing. In virtual time Redis is as
// fast as it must be; BenchmarkScale measures real time. With the race detector they are a thousand.
func TestTenThousandElections(t *testing.T) {
	const lease, leases = 10 * time.Second, 3
	n := 10_000
	if leaktest.RaceDetector() {
		n = 1000
	}
	synctest.Test(t, func(t *testing.T) {
		s := redistest.NewEmbedded(t)
		redistest.Do(t, s.Dial, "PING")
		requests := quick(s)
		pool := redistest.Pool(t, s.Dial)
		pool.MaxActive, pool.Wait = 16, true
		aging := make(chan struct{})
		var ages sync.WaitGroup
		defer ages.Wait()
		defer close(aging)
		ages.Go(func() { // keys age by steps, and so expire up to one step early
			step := time.NewTicker(lease / 20)
			defer step.Stop()
			for {
				select {
				case <-aging:
					return
				case <-step.C:
					s.FastForward(lease / 20)
				}
			}
		})
		all := newThrong(t, n, pool, lease)
		lead := func(when string) {
			t.Helper()
			leading := 0
			for _, e := range all.elections {
				if e.IsLeader() {
					leading++
				}
			}
			if leading != n || int(all.terms.Load()) != n || all.lost.Load() != 0 {
				t.Fatalf("%s: %d of %d lead, after %d terms, %d of them lost", when, leading, n, all.terms.Load(), all.lost.Load())
			}
		}
		synctest.Wait()
		lead("at once")
		if got := int(requests.Load()); got > 5*n {
			t.Errorf("%d requests until all lead, want 4 or 5 each", got) // an acquisition, a subscription, and looks around them
		}
		time.Sleep(lease + lease/40) // they began together, and have spread since
		lead("after a lease")

		start, before := requests.Load(), requests.Load()
		mean := float64(n) * 3 * float64(time.Second) / float64(lease)
		for second := range int(leases * lease / time.Second) {
			time.Sleep(time.Second)
			now := requests.Load()
			if got := float64(now - before); got > 1.3*mean {
				t.Errorf("%.0f requests in second %d, want about %.0f", got, second, mean)
			}
			before = now
		}
		lead("after some leases")
		each := float64(before-start) / float64(n) / leases
		if each < 2.9 || each > 3.1 {
			t.Errorf("%.2f requests per lease and election, want 3", each)
		}

		stop := time.Now()
		all.stop()
		if took := time.Since(stop); took > lease/6 {
			t.Errorf("all have ended after %v, want a sixth of the lease", took)
		}
		if int(all.ended.Load()) != n || all.lost.Load() != 0 {
			t.Errorf("%d of %d have ended, %d by a loss", all.ended.Load(), n, all.lost.Load())
		}
		fences := 0
		for _, key := range s.Keys() {
			if !strings.HasSuffix(key, ":fence") {
				t.Fatalf("%s is left in Redis", key)
			}
			fences++
		}
		if fences != n {
			t.Errorf("%d fences are left, want %d", fences, n)
		}
		t.Logf("%d elections: %.3f requests per lease and election", n, each)
	})
}

// A throng is many elections on one pool, each for a key of its own.
type throng struct {
	elections          []*election.Election
	terms, lost, ended atomic.Int64
	lead               chan struct{} // closed when all have been elected
	stop               func()        // ends all, and waits for their ends
}

func newThrong(t testing.TB, n int, pool *redis.Pool, lease time.Duration) *throng {
	a := &throng{lead: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range n {
		e := &election.Election{Lock: &setlock.Lock{Key: "k" + strconv.Itoa(i), Pool: pool, Lease: lease}}
		e.OnElected = func(ctx context.Context) error {
			if a.terms.Add(1) == int64(n) {
				close(a.lead)
			}
			<-ctx.Done()
			if context.Cause(ctx) != context.Canceled {
				a.lost.Add(1)
			}
			return nil
		}
		a.elections = append(a.elections, e)
		wg.Go(func() {
			defer a.ended.Add(1)
			if err := e.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	a.stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(a.stop)
	return a
}

// quick makes s fit for thousands of locks, and returns how many requests of clients s has had,
// without what scripts call. With its own clock s would look through all keys at every command, so
// keys age by FastForward instead. It would also make a new Lua state for every script, so the two
// that run most are answered here.
func quick(s *redistest.Embedded) *atomic.Int64 {
	var requests atomic.Int64
	s.ClockTTL(false)
	s.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		switch cmd {
		case "EVAL", "EVALSHA", "PING", "SUBSCRIBE", "UNSUBSCRIBE":
			requests.Add(1)
		}
		if cmd != "EVALSHA" {
			return false
		}
		key := args[2]
		held, _ := s.Get(key)
		switch protocol.NameOf(args[0]) {
		case "look":
			fence := args[3]
			left := int(s.TTL(key).Milliseconds())
			if held == "" {
				left = -2
			}
			number, _ := s.Get(fence)
			c.WriteLen(3)
			c.WriteInt(left)
			c.WriteBulk(number)
			c.WriteBulk(held)
			return true
		case "renew":
			if args[1] != "1" {
				return false
			}
			if held != args[3] {
				c.WriteInt(0)
				return true
			}
			ms, _ := strconv.Atoi(args[4])
			s.SetTTL(key, time.Duration(ms)*time.Millisecond)
			c.WriteInt(1)
			return true
		}
		return false
	})
	return &requests
}
