package setlock_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/setlock"
)

// renewers returns how many renewers run in this process, and how many of their batches.
func renewers() (running, batches int) {
	synctest.Wait()
	buffer := make([]byte, 1<<22)
	stacks := string(buffer[:runtime.Stack(buffer, true)])
	const function = "\nexample.com/setlock/setlock.(*renewer)."
	return strings.Count(stacks, function+"run("), strings.Count(stacks, function+"launch.func")
}

// A Pool has one renewer while it has a session, for however many sessions. With the last session,
// the renewer is gone when Do returns.
func TestRenewerEndsWithTheLastSession(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		w.Server.Quick()
		pool := w.Lock(lease).Pool
		want := func(when string, n int) {
			t.Helper()
			if running, batches := renewers(); running != n || batches != 0 {
				t.Errorf("%s: %d renewers with %d batches, want %d and 0", when, running, batches, n)
			}
		}
		want("at first", 0)
		for range 3 {
			c := locktest.NewCrowd(t, locktest.Locks(pool, "k", 10, lease)...)
			want("with ten sessions", 1)
			time.Sleep(lease)
			d := locktest.NewCrowd(t, locktest.Locks(pool, "more", 1, lease)...)
			time.Sleep(lease)
			c.Stop()
			want("with one session", 1)
			time.Sleep(lease)
			d.Stop()
			want("without a session", 0)
			c.MustLose("of ten")
			d.MustLose("of one")
		}
	})
}

// The last session ends while a batch hangs, or waits for its turn in the pool.
func TestRenewerEndsWithABatchInFlight(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.LoadScripts(t, w.Direct(lease))
		w.Server.Forbid("SUBSCRIBE")
		newHole(w).open(1)
		locktest.MustDo(t, w.Lock(lease), func(context.Context) error {
			time.Sleep(lease/20 + lease/100)
			if running, batches := renewers(); running != 1 || batches == 0 {
				t.Errorf("%d renewers, %d batches, want one that hangs", running, batches)
			}
			return nil
		})
		if running, batches := renewers(); running != 0 || batches != 0 {
			t.Errorf("%d renewers with %d batches when Do has returned", running, batches)
		}
	})
}

// Sessions begin and end all the time beside some that stay. None is lost, and nothing is left.
func TestChurn(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				const stay, come, leases = 10, 10, 10
				locktest.LoadScripts(t, w.Direct(lease))
				w.Server.Quick()
				pool := w.Lock(lease).Pool
				c := locktest.NewCrowd(t, locktest.Locks(pool, "stays", stay, lease)...)
				end := time.Now().Add(leases * lease)
				var sessions atomic.Int64
				var coming sync.WaitGroup
				for i := range come {
					random := rand.New(rand.NewPCG(seed, uint64(i)))
					coming.Go(func() {
						for time.Now().Before(end) {
							time.Sleep(time.Duration(random.Int64N(int64(lease / 4))))
							// A short lease now and then, and sessions that end before their first
							// renewal.
							l := &setlock.Lock{Key: fmt.Sprint("comes", i, "-", sessions.Add(1)), Pool: pool, Lease: lease >> random.IntN(4)}
							works := time.Duration(random.Int64N(int64(l.Lease) >> random.IntN(5)))
							locktest.MustDo(t, l, func(ctx context.Context) error {
								time.Sleep(works)
								return context.Cause(ctx)
							})
						}
					})
				}
				coming.Wait()
				c.MustLose("beside the churn")
				c.Stop()
				if running, batches := renewers(); running != 0 || batches != 0 {
					t.Errorf("%d renewers with %d batches are left", running, batches)
				}
				for _, key := range w.Server.Keys() {
					if !strings.HasSuffix(key, ":fence") {
						t.Errorf("%s is left in Redis", key)
					}
				}
				if got := sessions.Load(); got < leases*come*2 {
					t.Errorf("%d sessions came and went, want more", got)
				}
			})
		})
	}
}
