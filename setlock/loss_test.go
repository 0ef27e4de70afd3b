package setlock_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestLoss(t *testing.T) {
	for name, test := range map[string]struct {
		steal func(t *testing.T, w *locktest.World, thief *setlock.Lock)
		soon  time.Duration
		why   string
	}{
		"deleted": {
			func(_ *testing.T, w *locktest.World, _ *setlock.Lock) { w.Server.Del("k") }, lease / 3, "not ours",
		},
		"deleted and taken, announced": {
			func(t *testing.T, w *locktest.World, thief *setlock.Lock) {
				w.Server.Del("k")
				locktest.MustLock(t, thief, time.Minute)
			}, 0, "not ours",
		},
		"taken without a word": {
			func(_ *testing.T, w *locktest.World, _ *setlock.Lock) { w.Server.Set("k", "foreign") }, lease / 3, "not ours",
		},
		"another type": {
			func(_ *testing.T, w *locktest.World, _ *setlock.Lock) { w.Server.Del("k"); w.Server.Lpush("k", "x") }, lease / 3, "not ours",
		},
		"flushed": {
			func(_ *testing.T, w *locktest.World, _ *setlock.Lock) { w.Server.FlushAll() }, lease / 3, "not ours",
		},
		"announced only": {
			func(_ *testing.T, w *locktest.World, _ *setlock.Lock) { w.Server.Publish("setlock:k", "nonsense") }, -1, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				l, thief := w.Lock(lease), w.Direct(lease)
				err := l.Do(t.Context(), func(ctx context.Context) error {
					time.Sleep(2 * lease)
					start := time.Now()
					test.steal(t, w, thief)
					if test.soon < 0 {
						time.Sleep(2 * lease)
						return ctx.Err()
					}
					locktest.Between(t, "told after", locktest.UntilLost(t, ctx).Sub(start), 0, test.soon)
					return nil
				})
				if test.soon < 0 {
					if err != nil {
						t.Errorf("Do = %v", err)
					}
					return
				}
				if !errors.Is(err, setlock.ErrLost) || !strings.Contains(err.Error(), test.why) {
					t.Errorf("Do = %v, want ErrLost because %q", err, test.why)
				}
				if strings.HasPrefix(name, "deleted and") {
					if h, err := thief.Holder(t.Context()); h.Owner != "direct" || err != nil {
						t.Errorf("the thief's key was touched: %+v, %v", h, err)
					}
				}
			})
		})
	}
}

func TestLossFoundOnlyAtTheRelease(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		failure := errors.New("failure")
		err := w.Direct(lease).Do(t.Context(), func(ctx context.Context) error {
			w.Server.Del("k")
			return failure
		})
		if !errors.Is(err, setlock.ErrLost) || !errors.Is(err, failure) {
			t.Errorf("Do = %v, want ErrLost and the function's error", err)
		}
	})
}

func TestLossByOurOwnNewAcquisition(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		locktest.MustLose(t, l, func(ctx context.Context) error {
			w.Server.Del("k")
			locktest.MustLock(t, l, time.Minute)
			locktest.UntilLost(t, ctx)
			return nil
		})
		if l.Fence() == 0 || w.Server.TTL("k") != time.Minute {
			t.Error("the end of the old session released the new hold")
		}
	})
}

func TestReleaseWhoseReplyIsLostIsNoLoss(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.LoadScripts(t, l)
		locktest.MustDo(t, l, func(context.Context) error {
			time.Sleep(2 * lease)
			w.Network.Set(redistest.Faults{LoseReplies: true})
			time.AfterFunc(lease/24, func() { w.Network.Set(redistest.Faults{}) })
			return nil
		})
	})
}

func TestUnlockAfterTheWorkIsNoLoss(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.LoadScripts(t, l)
		unlocked := make(chan error)
		locktest.MustDo(t, l, func(context.Context) error {
			w.Network.Set(redistest.Faults{Delay: 10 * time.Millisecond})
			// The Unlock goes out with the release, on a connection that is quicker by then.
			time.AfterFunc(time.Millisecond, func() {
				w.Network.Set(redistest.Faults{})
				unlocked <- l.Unlock(t.Context())
			})
			return nil
		})
		if err := <-unlocked; err != nil && err != setlock.ErrNotHeld {
			t.Errorf("Unlock: %v", err)
		}
	})
}
