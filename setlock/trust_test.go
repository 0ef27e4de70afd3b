package setlock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/clock/clocktest"
	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestTrustCountsFromTheRequest(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.MustLose(t, w.Lock(lease), func(ctx context.Context) error {
			time.Sleep(lease)              // a renewal has loaded its script
			const oneWay = lease * 7 / 100 // an attempt may take lease/6
			w.Network.Set(redistest.Faults{Delay: oneWay})
			time.Sleep(3 * lease)
			if ctx.Err() != nil {
				t.Fatalf("lost in a slow network: %v", context.Cause(ctx))
			}
			w.Network.Set(redistest.Silent)
			locktest.UntilLost(t, ctx)
			if left := w.Server.TTL("k"); left < lease/10+oneWay {
				t.Errorf("%v of the key was left at the loss, want %v: a tenth, and the way of the request", left, lease/10+oneWay)
			}
			w.Network.Set(redistest.Faults{})
			return nil
		})
	})
}

func TestLateRenewalDoesNotCount(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.MustLose(t, l, func(ctx context.Context) error {
			time.Sleep(2 * lease)
			// Replies arrive only after the loss.
			w.Network.Set(redistest.Faults{HoldReplies: true})
			lost := locktest.UntilLost(t, ctx)
			w.Network.Set(redistest.Faults{})
			synctest.Wait()
			if l.Fence() != 0 || ctx.Err() == nil {
				t.Errorf("believed again after %v", lost)
			}
			return nil
		})
	})
}

func TestSuspendedMachine(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		fake := clocktest.New()
		ctx := clock.NewContext(t.Context(), fake)
		err := l.Do(ctx, func(ctx context.Context) error {
			fake.Advance(lease / 30)
			synctest.Wait()
			fake.Suspend(lease) // the timers did not see it
			if l.Fence() != 0 {
				t.Error("Fence believes after a suspension")
			}
			fake.Advance(lease / 20)
			synctest.Wait()
			select {
			case <-ctx.Done():
			default:
				t.Error("the context lives a glance after a suspension")
			}
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) {
			t.Errorf("Do = %v, want ErrLost", err)
		}
	})
}

// A virtual machine that is paused stops both clocks. Only Redis can tell.
func TestPausedVirtualMachine(t *testing.T) {
	for name, pausedAt := range map[string]time.Duration{"told by an announcement": lease / 10, "told by the next renewal": lease / 30} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				l, other := w.Direct(lease), w.Direct(lease)
				fake := clocktest.New()
				ctx := clock.NewContext(t.Context(), fake)
				err := l.Do(ctx, func(ctx context.Context) error {
					fake.Advance(lease / 30)
					synctest.Wait()
					fake.Advance(pausedAt - lease/30) // it listens from a twentieth of the lease on
					time.Sleep(2 * lease)             // the machine is paused
					locktest.MustLock(t, other, time.Hour)
					synctest.Wait()
					if pausedAt < lease/20 {
						if ctx.Err() != nil {
							t.Error("told without a renewal")
						}
						fake.Advance(lease / 20)
						synctest.Wait()
					}
					if ctx.Err() == nil || l.Fence() != 0 {
						t.Error("another holds the lock, and nobody was told")
					}
					return nil
				})
				if !errors.Is(err, setlock.ErrLost) {
					t.Errorf("Do = %v, want ErrLost", err)
				}
			})
		})
	}
}
