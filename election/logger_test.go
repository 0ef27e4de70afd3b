package election_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// The Logger of one election blocks for ever at its first warning. The other elections on the same
// Pool keep their leaderships, and all of them end in time when Redis is away, that one too.
func TestLoggerThatBlocksDelaysNoOther(t *testing.T) {
	for name, trouble := range map[string]redistest.Faults{
		"silent":  redistest.Silent,
		"refused": {Refuse: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				const n = 6
				pool := redistest.Pool(t, w.network.Dial)
				block := make(chan struct{})
				var blocked atomic.Int64
				var ended [n]atomic.Pointer[time.Time] // when the context of the term ended
				var terms [n]atomic.Int64
				for i := range n {
					e := &election.Election{
						Lock: &setlock.Lock{Key: fmt.Sprint("k", i), Pool: pool, Lease: lease},
						OnElected: func(ctx context.Context) error {
							terms[i].Add(1)
							<-ctx.Done()
							now := time.Now()
							ended[i].CompareAndSwap(nil, &now)
							return nil
						},
					}
					if i == 0 {
						e.Logger = slog.New(handler(func(r slog.Record) {
							if r.Level >= slog.LevelWarn {
								blocked.Add(1)
								<-block
							}
						}))
					}
					start(t, e)
				}
				time.Sleep(2 * lease)
				away := func(f redistest.Faults, d time.Duration) (since time.Time) {
					w.network.Set(f)
					if f.Refuse {
						w.network.Reset()
					}
					since = time.Now()
					time.Sleep(d)
					return since
				}

				away(redistest.Faults{Refuse: true}, lease/3+lease/10) // a renewal of each fails
				w.network.Set(redistest.Faults{})
				if blocked.Load() == 0 {
					t.Fatal("the Logger does not block")
				}
				for range 100 {
					time.Sleep(lease / 20)
					for i := range n {
						if left := w.server.TTL(fmt.Sprint("k", i)); left < lease/2 || ended[i].Load() != nil {
							t.Fatalf("k%d lives %v, and its leadership has ended: %v", i, left, ended[i].Load() != nil)
						}
					}
				}

				since := away(trouble, lease)
				for i := range n {
					end := ended[i].Load()
					if end == nil {
						t.Errorf("the leadership of k%d lasts without Redis", i)
					} else if got := end.Sub(since); got < lease*9/10-lease/3 || got > lease*9/10 {
						t.Errorf("the leadership of k%d ended after %v, want %v to %v", i, got, lease*9/10-lease/3, lease*9/10)
					}
				}
				w.network.Reset()
				w.network.Set(redistest.Faults{})
				time.Sleep(3 * lease)
				for i := 1; i < n; i++ {
					if got := terms[i].Load(); got != 2 {
						t.Errorf("%d terms of k%d, want 2", got, i)
					}
				}
				close(block)
				synctest.Wait()
			})
		})
	}
}
