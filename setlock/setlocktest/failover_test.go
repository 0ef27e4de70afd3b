package setlocktest_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/setlocktest"
)

// newScheduler returns a candidate that runs job every minute while it leads. It is the code
// under test.
func newScheduler(pool *redis.Pool, job func()) *election.Election {
	return &election.Election{
		Lock: &setlock.Lock{Key: "scheduler", Pool: pool},
		OnElected: func(ctx context.Context) error {
			tick := time.NewTicker(time.Minute)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-tick.C:
					job()
				}
			}
		},
	}
}

// The documentation of the package and docs/testing.md show this test.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		var byA, byB atomic.Int64 // jobs
		a := newScheduler(srv.Pool(), func() { byA.Add(1) })
		b := newScheduler(srv.Pool(), func() { byB.Add(1) })
		go a.Run(t.Context())
		synctest.Wait() // until a leads
		go b.Run(t.Context())

		time.Sleep(5*time.Minute + time.Second) // in virtual time: it takes no real time
		if byA.Load() != 5 || byB.Load() != 0 {
			t.Errorf("%d jobs by a, %d by b, want 5 by a", byA.Load(), byB.Load())
		}

		srv.CutOff(a.Lock.Pool)
		time.Sleep(setlock.DefaultLease + time.Second)
		if a.IsLeader() || !b.IsLeader() {
			t.Error("b does not lead after a has been cut off for a lease")
		}

		srv.Reconnect(a.Lock.Pool)
		time.Sleep(5 * time.Minute)
		if byA.Load() != 5 || byB.Load() != 5 {
			t.Errorf("%d jobs by a, %d by b, want 5 more by b", byA.Load(), byB.Load())
		}
	})
}
