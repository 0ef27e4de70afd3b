package setlock_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A Renew or an Unlock without a reply may still reach Redis. Fence allows for it.

func TestShorterRenewalIsBelievedFromItsRequest(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l, other := w.Lock(lease), w.Direct(lease)
		locktest.MustLock(t, l, time.Hour)
		locktest.MustRenew(t, l, time.Hour) // loads the script
		w.Network.Set(redistest.Faults{LoseReplies: true})
		locktest.TimesOut(t, 100*time.Millisecond, func(ctx context.Context) error { return l.Renew(ctx, time.Second) })
		w.Network.Set(redistest.Faults{})
		time.Sleep(time.Second)
		locktest.MustLock(t, other, time.Hour)
		locktest.FenceEnded(t, l)
	})
}

func TestLateRenewalIsReckonedWith(t *testing.T) {
	for name, set := range map[string]func(l *setlock.Lock, ctx context.Context, d time.Duration) error{
		"before a Renew": (*setlock.Lock).Renew, "before an Extend": (*setlock.Lock).Extend,
	} {
		for _, late := range []time.Duration{time.Second, time.Millisecond, 0, -time.Second} {
			t.Run(fmt.Sprintf("%s, %v", name, late), func(t *testing.T) {
				locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
					l, other := w.Lock(lease), w.Direct(lease)
					locktest.MustLock(t, l, 100*time.Millisecond)
					locktest.MustRenew(t, l, 100*time.Millisecond) // loads the script
					w.Network.Set(redistest.Faults{Delay: 80 * time.Millisecond})
					locktest.TimesOut(t, 20*time.Millisecond, func(ctx context.Context) error { return l.Renew(ctx, late) })
					w.Network.Set(redistest.Faults{})
					if err := set(l, t.Context(), time.Hour); err != nil { // on another connection, and quicker
						t.Fatal(err)
					}
					if l.Fence() == 0 {
						t.Error("Fence = 0 right after a renewal")
					}
					time.Sleep(80*time.Millisecond + time.Second)
					locktest.MustLock(t, other, time.Hour)
					locktest.FenceEnded(t, l)
				})
			})
		}
	}
}

// A late Renew on a connection that cannot be interrupted. Its caller has left.
func TestLateRenewalOfAPlainConnection(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l, other := w.Lock(lease), w.Direct(lease)
		locktest.Wrap(l.Pool, locktest.NewPlain)
		locktest.MustLock(t, l, 100*time.Millisecond)
		locktest.MustRenew(t, l, 100*time.Millisecond)
		w.Network.Set(redistest.Faults{Delay: 80 * time.Millisecond})
		locktest.TimesOut(t, 20*time.Millisecond, func(ctx context.Context) error { return l.Renew(ctx, time.Second) })
		w.Network.Set(redistest.Faults{})
		locktest.MustRenew(t, l, time.Hour)
		time.Sleep(80*time.Millisecond + time.Second)
		locktest.MustLock(t, other, time.Hour)
		locktest.FenceEnded(t, l)
	})
}

// Fence allows for a lost Renew for a minute. A later one that is lost has a minute of its own.
func TestLateRenewalIsForgotten(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.MustLock(t, l, time.Hour)
		w.Network.Next(locktest.Sends("renew"), redistest.Swallow)
		locktest.Fails(t, "Renew on a connection that breaks", l.Renew(t.Context(), time.Second))
		for range 2 {
			locktest.MustRenew(t, l, time.Hour)
			time.Sleep(70 * time.Second)
		}
		if l.Fence() == 0 {
			t.Error("Fence = 0, a minute after a renewal for an hour")
		}
		w.Network.Next(locktest.Sends("renew"), redistest.Swallow)
		locktest.Fails(t, "Renew on a connection that breaks", l.Renew(t.Context(), 2*time.Second))
		locktest.MustRenew(t, l, time.Hour)
		time.Sleep(1500 * time.Millisecond)
		if l.Fence() == 0 {
			t.Error("Fence = 0, for a renewal that is forgotten")
		}
		time.Sleep(1500 * time.Millisecond)
		if got := l.Fence(); got != 0 {
			t.Errorf("Fence = %d, and a renewal for less may have come since", got)
		}
	})
}

// An Unlock that failed may have released the lock, or may still release it.
func TestFenceAfterAnUnlockThatFailed(t *testing.T) {
	for name, test := range map[string]struct {
		fault   func(w *locktest.World)
		maxIdle int
		kept    bool // the Unlock has not run and never will
	}{
		"its reply was lost": {func(w *locktest.World) { w.Network.Next(locktest.Sends("release"), redistest.Lose) }, 1, false},
		"it comes late":      {func(w *locktest.World) { w.Network.Set(redistest.Faults{Delay: 80 * time.Millisecond}) }, 2, false},
		"nobody was there":   {func(w *locktest.World) { w.Network.Set(redistest.Faults{Refuse: true}) }, 0, true},
		"Redis was loading":  {func(w *locktest.World) { w.Server.SetError("LOADING x") }, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				l, other := w.Lock(lease), w.Direct(lease)
				l.Pool.MaxIdle = test.maxIdle
				locktest.LoadScripts(t, l)
				locktest.MustLock(t, l, time.Hour)
				locktest.MustRenew(t, l, time.Hour)
				test.fault(w)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				locktest.Fails(t, "Unlock", l.Unlock(ctx))
				w.Server.SetError("")
				w.Network.Set(redistest.Faults{})
				err := l.Renew(t.Context(), time.Hour) // overtakes one that comes late
				if got := l.Fence(); (got != 0) != test.kept {
					t.Errorf("Fence = %d after Renew = %v, want one: %v", got, err, test.kept)
				}
				time.Sleep(time.Second)
				if test.kept {
					if err != nil || l.Unlock(t.Context()) != nil {
						t.Errorf("Renew = %v, and Unlock does not release", err)
					}
					return
				}
				locktest.MustLock(t, other, time.Hour)
				locktest.FenceEnded(t, l)
			})
		})
	}
}

// Whatever happens to calls, Fence is 0 while another hold is in the key.
func TestFenceIsNeverAnothers(t *testing.T) {
	held := 0
	for seed := range uint64(200) {
		locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
			r := rand.New(rand.NewPCG(seed, 1))
			ms := func(most ...int) time.Duration {
				return time.Duration(1+r.IntN(most[r.IntN(len(most))])) * time.Millisecond
			}
			l := w.Lock(lease)
			l.Owner = "me"
			locktest.MustLock(t, l, time.Second)
			var story []string
			look := func() {
				fence := l.Fence()
				if fence == 0 || t.Failed() {
					return
				}
				held++
				value, _ := w.Server.Get("k")
				recorded, _ := w.Server.Get("{k}:fence")
				if !strings.HasSuffix(value, ":me") || recorded != fmt.Sprint(fence) {
					t.Errorf("seed %d: Fence = %d, while the key holds %q with %s:\n%s", seed, fence, value, recorded, strings.Join(story, "\n"))
				}
			}
			for start := time.Now(); time.Since(start) < 10*time.Second; {
				w.Network.Set(redistest.Faults{Delay: []time.Duration{0, 0, ms(10), ms(100), ms(400)}[r.IntN(5)]})
				if r.IntN(6) == 0 {
					w.Network.Next(locktest.Sends(locktest.Scripts...), []redistest.Fate{redistest.Lose, redistest.Break, redistest.Swallow}[r.IntN(3)])
				}
				ctx, cancel := context.WithTimeout(t.Context(), ms(5, 50, 300))
				d := ms(5, 100, 2000)
				var err error
				what := []string{"Renew", "Renew", "Renew", "Extend", "Extend", "Lock", "Lock", "Unlock"}[r.IntN(8)]
				switch what {
				case "Renew":
					err = l.Renew(ctx, d)
				case "Extend":
					err = l.Extend(ctx, d)
				case "Lock":
					_, err = l.Lock(ctx, d)
				case "Unlock":
					err = l.Unlock(ctx)
				}
				cancel()
				w.Network.Next(nil, redistest.Lose)
				story = append(story, fmt.Sprintf("%v %s %v: %v, fence %d", time.Since(start), what, d, err, l.Fence()))
				look()
				for range r.IntN(6) {
					time.Sleep(ms(3, 60, 500))
					look()
				}
			}
			w.Network.Set(redistest.Faults{})
			time.Sleep(10 * time.Second)
		})
		if t.Failed() {
			return
		}
	}
	if held < 500 {
		t.Errorf("held %d times only", held)
	}
}
