package election_test

import (
	"context"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// Ten thousand elections in one process, on one pool of 16 connections: all lead, none
// loses in calm, their requests are few and evenly spread, and all end and leave
// nothing. In virtual time, in which Redis is as fast as it must be: how fast that is in
// truth, BenchmarkScale measures. With the race detector they are a thousand.
func TestTenThousandElections(t *testing.T) {
	const lease, leases = 10 * time.Second, 3
	n := 10_000
	if raceDetector() {
		n = 1000
		// Go 1.26's race detector does not survive two timers of one bubble that run at once, by
		// receives on two processors.
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	synctest.Test(t, func(t *testing.T) {
		s := redistest.NewEmbedded(t)
		redistest.Do(t, s.Dial, "PING")
		requests := quick(s)
		pool := redistest.Pool(t, s.Dial)
		pool.MaxActive, pool.Wait = 16, true
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		wg.Go(func() { // keys age by steps, and so expire up to one early
			step := time.NewTicker(lease / 20)
			defer step.Stop()
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-step.C:
					s.FastForward(lease / 20)
				}
			}
		})
		var terms, lost, ended atomic.Int64
		elections := make([]*election.Election, n)
		for i := range elections {
			e := &election.Election{Lock: &setlock.Lock{Key: "k" + strconv.Itoa(i), Pool: pool, Lease: lease}}
			e.OnElected = func(ctx context.Context) error {
				terms.Add(1)
				<-ctx.Done()
				if context.Cause(ctx) != context.Canceled {
					lost.Add(1)
				}
				return nil
			}
			elections[i] = e
			wg.Go(func() {
				defer ended.Add(1)
				if err := e.Run(ctx); err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		}
		lead := func(when string) {
			t.Helper()
			leading := 0
			for _, e := range elections {
				if e.IsLeader() {
					leading++
				}
			}
			if leading != n || int(terms.Load()) != n || lost.Load() != 0 {
				t.Fatalf("%s: %d of %d lead, after %d terms, %d of them lost", when, leading, n, terms.Load(), lost.Load())
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
		cancel()
		wg.Wait()
		if took := time.Since(stop); took > lease/6 {
			t.Errorf("all have ended after %v, want a sixth of the lease", took)
		}
		if int(ended.Load()) != n || lost.Load() != 0 {
			t.Errorf("%d of %d have ended, %d by a loss", ended.Load(), n, lost.Load())
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

// raceDetector reports whether this test was built with the race detector.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// quick makes s fit for thousands of locks, and returns how many requests of clients it has
// had, without what scripts call. By its own clock, it would look through all keys
// at every command: keys age by FastForward instead. And it would make a new Lua for every
// script: the two that are run most are answered here.
func quick(s *redistest.Embedded) *atomic.Int64 {
	var requests atomic.Int64
	s.ClockTTL(false)
	s.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		switch cmd {
		case "EVAL", "EVALSHA", "PING", "SUBSCRIBE", "UNSUBSCRIBE":
			requests.Add(1)
		}
		if cmd != "EVALSHA" || args[1] != "2" {
			return false
		}
		key, fence := args[2], args[3]
		held, _ := s.Get(key)
		switch len(args[4:]) {
		case 0: // holder.lua
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
		case 4: // renew.lua
			if held != args[4] {
				c.WriteInt(0)
				return true
			}
			ms, _ := strconv.Atoi(args[5])
			s.SetTTL(key, time.Duration(ms)*time.Millisecond)
			c.WriteInt(1)
			return true
		}
		return false
	})
	return &requests
}
