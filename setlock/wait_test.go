package setlock_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// waits returns for how long a Wait of l blocks. It must return nil.
func waits(t *testing.T, l *setlock.Lock) time.Duration {
	t.Helper()
	start := time.Now()
	if err := l.Wait(t.Context()); err != nil {
		t.Errorf("Wait = %v", err)
	}
	return time.Since(start)
}

// Wait returns when the lock is free, is released, or expires.
func TestWait(t *testing.T) {
	for _, push := range []bool{true, false} {
		t.Run(fmt.Sprint("push ", push), func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				late, soon := time.Duration(0), time.Duration(0)
				if !push {
					w.Server.Forbid("SUBSCRIBE")
					late, soon = lease/10, 100*time.Millisecond
				}
				a, b := w.Direct(lease), w.Lock(lease)
				locktest.Between(t, "a free lock", waits(t, b), 0, soon)
				locktest.MustLock(t, a, time.Hour)
				time.AfterFunc(3*lease, func() { locktest.MustUnlock(t, a) })
				locktest.Between(t, "a release", waits(t, b), 3*lease, 3*lease+late)
				locktest.MustLock(t, a, 2*lease)
				locktest.Between(t, "an expiry", waits(t, b), 2*lease, 2*lease+5*time.Millisecond+late)
				locktest.MustLock(t, b, lease)
			})
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.MustLock(t, w.Direct(lease), time.Hour)
		l := w.Lock(lease)
		for name, faults := range map[string]redistest.Faults{"calm": {}, "silent": redistest.Silent, "refused": {Refuse: true}} {
			w.Network.Set(faults)
			took := locktest.TimesOut(t, time.Second, l.Wait)
			locktest.Between(t, name, took, time.Second, time.Second+10*time.Millisecond)
		}
		w.Network.Set(redistest.Faults{})
		time.Sleep(time.Second) // what was held has arrived
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("why")
		cancel(why)
		asked := w.Server.Count("look")
		if err := l.Wait(ctx); !errors.Is(err, why) || asked() > 0 {
			t.Errorf("Wait = %v after %d requests, want the cause and none", err, asked())
		}
		if err := (&setlock.Lock{Key: "k"}).Wait(t.Context()); !errors.Is(err, setlock.ErrInvalid) {
			t.Errorf("Wait without a Pool = %v, want ErrInvalid", err)
		}
	})
}

// Without Redis, Wait blocks until the time of the holder has run out.
func TestWaitWithoutRedis(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.MustLock(t, w.Direct(lease), 2*lease)
		l := w.Lock(lease)
		time.AfterFunc(lease/2, w.Disconnect)
		locktest.Between(t, "with a holder that was seen", waits(t, l), 2*lease, 2*lease+lease/4)
		locktest.TimesOut(t, 10*lease, l.Wait) // nothing was seen
	})
}

// Of a hundred waiters, one gets the lock at each release. None of them sends more than two
// requests for each release: its attempt, and a look when it waits again.
func TestHundredWaiters(t *testing.T) {
	for _, shared := range []bool{true, false} {
		t.Run(fmt.Sprint("one pool ", shared), func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				const n = 100
				a := w.Direct(lease)
				locktest.LoadScripts(t, a)
				locktest.MustLock(t, a, time.Hour)
				winners := make(chan *setlock.Lock, n)
				var wg sync.WaitGroup
				ctx, cancel := context.WithCancel(t.Context())
				pool := redistest.Pool(t, w.Server.Dial)
				for range n {
					var own *redis.Pool = pool
					if !shared {
						own = redistest.Pool(t, w.Server.Dial)
					}
					l := &setlock.Lock{Key: "k", Pool: own, Lease: lease}
					wg.Go(func() {
						for l.Wait(ctx) == nil {
							if _, err := l.Lock(ctx, time.Hour); err == nil {
								winners <- l
								return
							}
						}
					})
				}
				time.Sleep(lease / 10)
				holder := a
				for range 10 {
					requests := w.Server.Count(locktest.Scripts...)
					locktest.MustUnlock(t, holder)
					time.Sleep(lease / 10)
					synctest.Wait()
					if len(winners) != 1 {
						t.Fatalf("%d winners, want one", len(winners))
					}
					holder = <-winners
					if got := requests() - 1; got > 2*n {
						t.Errorf("%d requests of %d waiters for one release, want two each at most", got, n)
					}
				}
				cancel()
				wg.Wait()
				locktest.MustUnlock(t, holder)
			})
		})
	}
}
