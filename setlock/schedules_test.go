package setlock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/clock/clocktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// Unlucky schedules, one by one.

func TestGoroutinesShareALock(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Lease: time.Second}
		var wg sync.WaitGroup
		var working, runs atomic.Int64
		for range 4 {
			wg.Go(func() {
				for range 200 {
					err := l.Do(t.Context(), func(context.Context) error {
						runs.Add(1)
						if working.Add(1) != 1 {
							t.Error("two work under one Lock")
						}
						defer working.Add(-1)
						return nil
					})
					if err != nil && err != setlock.ErrAlreadyHeld {
						t.Errorf("Do = %v, want nil or ErrAlreadyHeld", err)
					}
				}
			})
		}
		wg.Wait()
		if runs.Load() == 0 {
			t.Error("nobody ever worked")
		}
	})
}

func TestTimesAreSetWhileATermBegins(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) { // for the race detector
		l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Lease: time.Second}
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 100 {
				if err := l.Do(t.Context(), func(context.Context) error { return nil }); err != nil {
					t.Errorf("Do: %v", err)
				}
			}
		})
		wg.Go(func() {
			for range 200 {
				for _, err := range []error{l.Renew(t.Context(), time.Second), l.Extend(t.Context(), time.Second)} {
					if err != nil && err != setlock.ErrNotHeld {
						t.Errorf("Renew or Extend: %v", err)
					}
				}
				l.Fence()
			}
		})
		wg.Wait()
	})
}

func TestReleaseWhoseReplyIsLostIsNoLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		warm(t, l)
		err := l.Do(t.Context(), func(context.Context) error {
			time.Sleep(2 * lease)
			w.network.Set(redistest.Faults{LoseReplies: true})
			time.AfterFunc(lease/24, func() { w.network.Set(redistest.Faults{}) })
			return nil
		})
		if err != nil {
			t.Errorf("Do = %v, want nil", err)
		}
	})
}

func TestUnlockAfterTheWorkIsNoLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		warm(t, l)
		unlocked := make(chan error)
		err := l.Do(t.Context(), func(context.Context) error {
			w.network.Set(redistest.Faults{Delay: 10 * time.Millisecond})
			// Goes out with the release, over a connection that is quicker by then.
			time.AfterFunc(time.Millisecond, func() {
				w.network.Set(redistest.Faults{})
				unlocked <- l.Unlock(t.Context())
			})
			return nil
		})
		if err != nil {
			t.Errorf("Do = %v, want nil", err)
		}
		if err := <-unlocked; err != nil && err != setlock.ErrNotHeld {
			t.Errorf("Unlock: %v", err)
		}
	})
}

func TestAcquisitionIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		warm(t, l)
		w.network.Set(redistest.Silent)
		start := time.Now()
		called := func(context.Context) error { t.Error("called"); return nil }
		if err := l.Do(t.Context(), called); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Do = %v, want a timeout", err)
		}
		between(t, "Do without an answer", time.Since(start), lease/3, lease/3+20*time.Millisecond)
		time.Sleep(3 * time.Second)
		w.network.Set(redistest.Faults{})
		time.Sleep(time.Second)
		if w.server.Exists("k") {
			t.Error("the acquisition stands")
		}
	})
}

func TestLateAcquisitionDoesNotCount(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		warm(t, l)
		w.network.Set(redistest.Faults{HoldReplies: true})
		fake := clocktest.New()
		time.AfterFunc(time.Second, func() {
			fake.Suspend(lease) // with the reply on its way
			w.network.Set(redistest.Faults{})
		})
		called := func(context.Context) error { t.Error("called"); return nil }
		err := l.Do(clock.NewContext(t.Context(), fake), called)
		if err == nil || err == setlock.ErrNotHeld || !strings.Contains(err.Error(), "too late") {
			t.Errorf("Do = %v, want an error that says that the reply was late", err)
		}
		if w.server.Exists("k") {
			t.Error("the late acquisition stands")
		}
	})
}

// slowClose is a connection whose Close takes its time, as one over TLS may.
type slowClose struct {
	redis.Conn
	close func()
}

func (c slowClose) Close() error {
	c.close()
	return c.Conn.Close()
}

func TestAcquisitionThatComesAsItsCallerLeaves(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var once sync.Once
		l := &setlock.Lock{Key: "k", Pool: &redis.Pool{DialContext: func(ctx context.Context) (redis.Conn, error) {
			conn, err := w.server.Dial(ctx)
			if err != nil {
				return nil, err
			}
			return slowClose{redis.NewConn(conn, 0, 0), func() {
				once.Do(func() { cancel(); time.Sleep(20 * time.Millisecond) })
			}}, nil
		}}}
		_, err := l.Lock(ctx, time.Hour)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Lock = %v, want the end of its context", err)
		}
		time.Sleep(time.Second)
		if w.server.Exists("k") {
			t.Error("an acquisition that its caller does not know of stands")
		}
	})
}

func TestShorterRenewalIsBelievedFromItsRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l, other := w.lock(lease), w.direct(lease)
		mustLock(t, l, time.Hour)
		if err := l.Renew(t.Context(), time.Hour); err != nil { // loads the script
			t.Fatal(err)
		}
		w.network.Set(redistest.Faults{LoseReplies: true})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := l.Renew(ctx, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Renew = %v, want a timeout", err)
		}
		w.network.Set(redistest.Faults{})
		time.Sleep(time.Second)
		mustLock(t, other, time.Hour)
		if got := l.Fence(); got != 0 {
			t.Errorf("Fence = %d while another holds the lock, want 0", got)
		}
	})
}

func TestLateRenewalIsReckonedWith(t *testing.T) {
	for name, set := range map[string]func(l *setlock.Lock, ctx context.Context, d time.Duration) error{
		"before a Renew": (*setlock.Lock).Renew, "before an Extend": (*setlock.Lock).Extend,
	} {
		for _, late := range []time.Duration{time.Second, time.Millisecond, 0, -time.Second} {
			t.Run(fmt.Sprintf("%s, %v", name, late), func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					l, other := w.lock(lease), w.direct(lease)
					mustLock(t, l, 100*time.Millisecond)
					if err := l.Renew(t.Context(), 100*time.Millisecond); err != nil { // loads the script
						t.Fatal(err)
					}
					w.network.Set(redistest.Faults{Delay: 80 * time.Millisecond})
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
					defer cancel()
					if err := l.Renew(ctx, late); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("Renew = %v, want a timeout", err)
					}
					w.network.Set(redistest.Faults{})
					if err := set(l, t.Context(), time.Hour); err != nil { // on another connection, and quicker
						t.Fatal(err)
					}
					if l.Fence() == 0 {
						t.Error("Fence = 0 right after a renewal")
					}
					time.Sleep(80*time.Millisecond + time.Second)
					mustLock(t, other, time.Hour)
					if got := l.Fence(); got != 0 {
						t.Errorf("Fence = %d while another holds the lock, want 0", got)
					}
				})
			})
		}
	}
}

// plain hides what a connection can do with a context.
type plain struct{ redis.Conn }

// A late Renew on a connection that cannot be interrupted: its caller has left.
func TestLateRenewalOfAPlainConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l, other := w.lock(lease), w.direct(lease)
		dial := l.Pool.DialContext
		l.Pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
			conn, err := dial(ctx)
			return plain{conn}, err
		}
		mustLock(t, l, 100*time.Millisecond)
		if err := l.Renew(t.Context(), 100*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		w.network.Set(redistest.Faults{Delay: 80 * time.Millisecond})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := l.Renew(ctx, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Renew = %v, want a timeout", err)
		}
		w.network.Set(redistest.Faults{})
		if err := l.Renew(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		time.Sleep(80*time.Millisecond + time.Second)
		mustLock(t, other, time.Hour)
		if got := l.Fence(); got != 0 {
			t.Errorf("Fence = %d while another holds the lock, want 0", got)
		}
	})
}

// A Renew that was lost is not reckoned with for ever; one that is lost after that, is.
func TestLateRenewalIsForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		mustLock(t, l, time.Hour)
		w.network.Next(script, redistest.Swallow)
		if err := l.Renew(t.Context(), time.Second); err == nil {
			t.Error("Renew = nil, want that the connection broke")
		}
		for range 2 {
			if err := l.Renew(t.Context(), time.Hour); err != nil {
				t.Fatal(err)
			}
			time.Sleep(70 * time.Second)
		}
		if l.Fence() == 0 {
			t.Error("Fence = 0, a minute after a renewal for an hour")
		}
		w.network.Next(script, redistest.Swallow)
		if err := l.Renew(t.Context(), 2*time.Second); err == nil {
			t.Error("Renew = nil, want that the connection broke")
		}
		if err := l.Renew(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
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

// script reports whether a request is one of a script that the server knows.
func script(request []byte) bool { return bytes.Contains(request, []byte("EVALSHA")) }

// An Unlock that failed may have released the lock, or may yet.
func TestFenceAfterAnUnlockThatFailed(t *testing.T) {
	for name, test := range map[string]struct {
		fault   func(w *world)
		maxIdle int
		kept    bool // it has not run and never will
	}{
		"its reply was lost": {func(w *world) { w.network.Next(script, redistest.Lose) }, 1, false},
		"it comes late":      {func(w *world) { w.network.Set(redistest.Faults{Delay: 80 * time.Millisecond}) }, 2, false},
		"nobody was there":   {func(w *world) { w.network.Set(redistest.Faults{Refuse: true}) }, 0, true},
		"Redis was loading":  {func(w *world) { w.server.SetError("LOADING x") }, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				l, other := w.lock(lease), w.direct(lease)
				l.Pool.MaxIdle = test.maxIdle
				mustLock(t, l, time.Hour)
				if err := l.Unlock(t.Context()); err != nil { // loads the script
					t.Fatal(err)
				}
				mustLock(t, l, time.Hour)
				if err := l.Renew(t.Context(), time.Hour); err != nil {
					t.Fatal(err)
				}
				test.fault(w)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				if err := l.Unlock(ctx); err == nil || err == setlock.ErrNotHeld {
					t.Errorf("Unlock = %v, want another error", err)
				}
				w.server.SetError("")
				w.network.Set(redistest.Faults{})
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
				mustLock(t, other, time.Hour)
				if got := l.Fence(); got != 0 {
					t.Errorf("Fence = %d while another holds the lock, want 0", got)
				}
			})
		})
	}
}

// Whatever calls meet on their way, Fence is never what it must not be: another's time.
func TestFenceIsNeverAnothers(t *testing.T) {
	held := 0
	for seed := range uint64(200) {
		inBubble(t, func(t *testing.T, w *world) {
			r := rand.New(rand.NewPCG(seed, 1))
			ms := func(most ...int) time.Duration {
				return time.Duration(1+r.IntN(most[r.IntN(len(most))])) * time.Millisecond
			}
			l := w.lock(lease)
			l.Owner = "me"
			mustLock(t, l, time.Second)
			var story []string
			look := func() {
				fence := l.Fence()
				if fence == 0 || t.Failed() {
					return
				}
				held++
				value, _ := w.server.Get("k")
				stands, _ := w.server.Get("{k}:fence")
				if !strings.HasSuffix(value, ":me") || stands != fmt.Sprint(fence) {
					t.Errorf("seed %d: Fence = %d, while the key holds %q with %s:\n%s", seed, fence, value, stands, strings.Join(story, "\n"))
				}
			}
			for start := time.Now(); time.Since(start) < 10*time.Second; {
				w.network.Set(redistest.Faults{Delay: []time.Duration{0, 0, ms(10), ms(100), ms(400)}[r.IntN(5)]})
				if r.IntN(6) == 0 {
					w.network.Next(script, []redistest.Fate{redistest.Lose, redistest.Break, redistest.Swallow}[r.IntN(3)])
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
				w.network.Next(nil, redistest.Lose)
				story = append(story, fmt.Sprintf("%v %s %v: %v, fence %d", time.Since(start), what, d, err, l.Fence()))
				look()
				for range r.IntN(6) {
					time.Sleep(ms(3, 60, 500))
					look()
				}
			}
			w.network.Set(redistest.Faults{})
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

func TestRenewThatNeverWentOutChangesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		mustLock(t, l, time.Hour)
		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		l.Renew(t.Context(), time.Second) // meets the broken connection
		if err := l.Renew(t.Context(), time.Second); err == nil {
			t.Error("Renew = nil through a network that refuses")
		}
	})
}

func TestLateAttemptIsAdoptedAfterAnUnlock(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		l.Pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
			conn, err := w.network.Dial(ctx)
			if err != nil {
				return nil, err
			}
			return redis.NewConn(conn, time.Second, time.Second), nil
		}
		warm(t, l)
		w.network.Set(redistest.Faults{HoldRequests: true, Refuse: true})
		if _, err := l.Lock(t.Context(), time.Hour); err == nil {
			t.Error("Lock = nil through a silent network")
		}
		direct := w.direct(lease).Pool
		l.Pool.DialContext = direct.DialContext
		mustLock(t, l, time.Second)
		if err := l.Unlock(t.Context()); err != nil {
			t.Errorf("Unlock: %v", err)
		}
		w.network.Set(redistest.Faults{}) // and the first attempt arrives
		time.Sleep(time.Second)
		if !w.server.Exists("k") {
			t.Fatal("the first attempt did not arrive")
		}
		mustLock(t, l, time.Second)
	})
}

func TestREADONLYFromAnOldScript(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(lease)
		redistest.Do(t, w.server.Dial, "PING")
		w.server.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
			if strings.HasPrefix(cmd, "EVAL") { // as Redis 5 and 6 put it
				c.WriteError("@user_script: 44: -READONLY You can't write against a read only replica.")
				return true
			}
			return false
		})
		if _, err := l.Lock(t.Context(), time.Second); err == nil {
			t.Error("Lock = nil on a replica")
		}
		if got := l.Pool.IdleCount(); got != 0 {
			t.Errorf("%d connections were given back that answered READONLY", got)
		}
	})
}

func TestOneFaultWhenNobodyCanDial(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		var glitch atomic.Bool
		redistest.Do(t, w.server.Dial, "PING")
		w.server.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
			if strings.HasPrefix(cmd, "EVAL") && glitch.CompareAndSwap(true, false) {
				c.WriteError("BUSY a passing fault")
				return true
			}
			return false
		})
		err := l.Do(t.Context(), func(ctx context.Context) error {
			time.Sleep(2 * lease)
			w.network.Set(redistest.Faults{Refuse: true}) // as at maxclients
			glitch.Store(true)
			time.Sleep(5 * lease)
			return context.Cause(ctx)
		})
		if err != nil {
			t.Errorf("Do = %v, want nil: the connections of the pool work", err)
		}
	})
}

func TestWatchSeesADeletionByHand(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(lease)
		mustLock(t, l, 24*time.Hour)
		own, other := watch(t, l), watch(t, w.direct(lease))
		receive(t, own, 0)
		receive(t, other, 0)
		time.Sleep(time.Minute)
		w.server.Del("k")
		start := time.Now()
		for name, c := range map[string]<-chan setlock.Holder{"the holder's": own, "another's": other} {
			if h := receive(t, c, 2*lease); !h.Nobody() {
				t.Errorf("%s watch saw %+v, want nobody", name, h)
			}
		}
		between(t, "seen after", time.Since(start), 0, lease+time.Millisecond)
	})
}

func TestRedialsArePaced(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		redistest.Do(t, w.server.Dial, "PING")
		var dials atomic.Int64
		w.server.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
			if strings.EqualFold(cmd, "SUBSCRIBE") { // as a proxy that knows none
				dials.Add(1)
				c.WriteError("ERR unknown command SUBSCRIBE")
				c.Flush()
				c.Close()
				return true
			}
			return false
		})
		receive(t, watch(t, w.direct(lease)), 0)
		time.Sleep(10 * time.Minute)
		if got := dials.Load(); got > 200 {
			t.Errorf("%d dials in ten minutes", got)
		}
	})
}

func TestLongTimes(t *testing.T) {
	dial := redistest.NewServer(t).Dial // the embedded one counts in nanoseconds
	a, b := pair(t, dial)
	mustLock(t, a, math.MaxInt64)
	if a.Fence() == 0 {
		t.Error("Fence = 0")
	}
	if left, err := b.Lock(t.Context(), time.Second); left < math.MaxInt64/2 || err != setlock.ErrNotHeld {
		t.Errorf("Lock = %v, %v, want a long time, ErrNotHeld", left, err)
	}
	if err := a.Extend(t.Context(), time.Hour); err != nil {
		t.Errorf("Extend: %v", err)
	}
	if err := a.Renew(t.Context(), math.MaxInt64); err != nil {
		t.Errorf("Renew: %v", err)
	}
	if h, err := b.Holder(t.Context()); h.Remaining < math.MaxInt64/2 || err != nil {
		t.Errorf("Holder = %+v, %v", h, err)
	}
}
