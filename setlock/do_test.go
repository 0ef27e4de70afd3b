package setlock_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/clock/clocktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

const lease = 6 * time.Second

// renewals has the server tell when it runs a renewal. The function that it returns
// returns them all.
func (w *world) renewals() func() []time.Time {
	var mu sync.Mutex
	var times []time.Time
	redistest.Do(w.t, w.server.Dial, "PING") // starts the server
	w.server.Server().SetPreHook(func(_ *server.Peer, cmd string, args ...string) bool {
		if strings.HasPrefix(cmd, "EVAL") && len(args) == 8 {
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Now())
		}
		return false
	})
	return func() []time.Time {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(times)
	}
}

func TestDoRunsAndReleases(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := pair(t, dial)
		failure := errors.New("failure")
		for _, want := range []error{nil, failure} {
			err := a.Do(t.Context(), func(ctx context.Context) error {
				fence, ok := setlock.FenceFromContext(ctx)
				if !ok || fence == 0 || fence != a.Fence() {
					t.Errorf("FenceFromContext = %d, %v, want Fence, %d", fence, ok, a.Fence())
				}
				if _, err := b.Lock(ctx, time.Minute); err != setlock.ErrNotHeld {
					t.Errorf("another's Lock = %v, want ErrNotHeld", err)
				}
				called := func(context.Context) error { t.Error("called"); return nil }
				if err := b.Do(ctx, called); err != setlock.ErrNotHeld {
					t.Errorf("another's Do = %v, want ErrNotHeld itself", err)
				}
				if err := a.Do(ctx, called); err != setlock.ErrAlreadyHeld {
					t.Errorf("Do within Do = %v, want ErrAlreadyHeld itself", err)
				}
				left, err := a.Lock(ctx, time.Minute)
				if left <= 0 || err != setlock.ErrAlreadyHeld {
					t.Errorf("Lock within Do = %v, %v, want the remaining time, ErrAlreadyHeld", left, err)
				}
				return want
			})
			if err != want {
				t.Errorf("Do = %v, want what its function returned, %v", err, want)
			}
			if got := redistest.Do(t, dial, "EXISTS", "k"); got != int64(0) {
				t.Error("the key exists after Do")
			}
			if got := a.Fence(); got != 0 {
				t.Errorf("Fence after Do = %d, want 0", got)
			}
		}
	})
}

func TestFenceFromOtherContext(t *testing.T) {
	if fence, ok := setlock.FenceFromContext(t.Context()); fence != 0 || ok {
		t.Errorf("FenceFromContext = %d, %v, want 0, false", fence, ok)
	}
}

// loadScripts has the server know what a Do runs.
func loadScripts(t *testing.T, l *setlock.Lock) {
	t.Helper()
	mustLock(t, l, lease)
	for _, err := range []error{l.Renew(t.Context(), lease), l.Unlock(t.Context())} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRenewalSchedule(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(lease)
		loadScripts(t, l)
		renewals := w.renewals()
		start := time.Now()
		err := w.direct(lease).Do(t.Context(), func(ctx context.Context) error {
			time.Sleep(10 * lease)
			return ctx.Err()
		})
		if err != nil {
			t.Errorf("Do: %v", err)
		}
		times := renewals()
		if len(times) < 4 {
			t.Fatalf("%d renewals in ten leases", len(times))
		}
		if got := times[0].Sub(start); got != lease/20 {
			t.Errorf("the first renewal came after %v, want %v", got, lease/20)
		}
		// The subscription is confirmed, and what was missed before is checked.
		if got := times[1].Sub(times[0]); got != 0 {
			t.Errorf("the one for the subscription came %v later, want 0", got)
		}
		for i := 2; i < len(times); i++ {
			gap := times[i].Sub(times[i-1])
			if i == 2 && (gap <= 0 || gap >= lease/3) {
				t.Errorf("the second renewal came after %v, want a random part of %v", gap, lease/3)
			} else if i > 2 && gap != lease/3 {
				t.Errorf("renewal %d came %v after the one before, want %v", i, gap, lease/3)
			}
		}
	})
}

// Terms that begin together on a slow network do not renew together from then on.
func TestRenewalsAreSpread(t *testing.T) {
	// Go 1.26's race detector does not survive two timers of one bubble that run at once, by
	// receives on two processors.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	inBubble(t, func(t *testing.T, w *world) {
		const n = 200
		loadScripts(t, w.direct(lease))
		renewals := w.renewals()
		pool := w.lock(lease).Pool
		w.network.Set(redistest.Faults{Delay: lease / 32})
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				l := &setlock.Lock{Key: strconv.Itoa(i), Pool: pool, Lease: lease}
				err := l.Do(t.Context(), func(ctx context.Context) error {
					time.Sleep(2 * lease)
					return ctx.Err()
				})
				if err != nil {
					t.Errorf("Do: %v", err)
				}
			})
		}
		time.Sleep(lease)
		start := time.Now()
		time.Sleep(lease / 3)
		const parts = 100
		var renewed [parts]int
		for _, at := range renewals() {
			if at.After(start) {
				renewed[min(int(at.Sub(start)*parts/(lease/3)), parts-1)]++
			}
		}
		all := 0
		for _, some := range renewed {
			all += some
		}
		if most := slices.Max(renewed[:]); all < n*9/10 || most > n/10 {
			t.Errorf("%d renewals by %d terms in a third of the lease, %d of them in a hundredth of that; want all, and spread", all, n, most)
		}
		wg.Wait()
	})
}

// trouble is every way in which Redis can be away.
var trouble = map[string]func(w *world) (end func()){
	"silent":         fault(redistest.Silent),
	"requests held":  fault(redistest.Faults{HoldRequests: true}),
	"replies held":   fault(redistest.Faults{HoldReplies: true}),
	"replies lost":   fault(redistest.Faults{LoseReplies: true}),
	"slow":           fault(redistest.Faults{Delay: lease}),
	"no new":         fault(redistest.Faults{Refuse: true}),
	"READONLY":       refusal("READONLY You can't write against a read only replica."),
	"LOADING":        refusal("LOADING Redis is loading the dataset in memory"),
	"MISCONF":        refusal("MISCONF Redis is configured to save RDB snapshots"),
	"CLUSTERDOWN":    refusal("CLUSTERDOWN The cluster is down"),
	"wrong password": refusal("WRONGPASS invalid username-password pair"),
	"refused": func(w *world) func() {
		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		return func() { w.network.Set(redistest.Faults{}) }
	},
	"silent, then reset": func(w *world) func() {
		w.network.Set(redistest.Silent)
		return func() {
			w.network.Reset()
			w.network.Set(redistest.Faults{})
		}
	},
}

func fault(f redistest.Faults) func(*world) func() {
	return func(w *world) func() {
		w.network.Set(f)
		return func() { w.network.Set(redistest.Faults{}) }
	}
}

func refusal(answer string) func(*world) func() {
	return func(w *world) func() {
		w.server.SetError(answer)
		return func() { w.server.SetError("") }
	}
}

func TestShortOutageCostsNothing(t *testing.T) {
	for name, begin := range trouble {
		t.Run(name, func(t *testing.T) {
			for part := range 12 { // the moments of a renewal period
				inBubble(t, func(t *testing.T, w *world) {
					err := w.lock(lease).Do(t.Context(), func(ctx context.Context) error {
						time.Sleep(lease + time.Duration(part)*lease/36)
						end := begin(w)
						time.Sleep(lease/3 - time.Millisecond)
						end()
						time.Sleep(3 * lease)
						return context.Cause(ctx)
					})
					if err != nil {
						t.Errorf("part %d: Do = %v", part, err)
					}
				})
			}
		})
	}
}

func TestTrustEndsBeforeTheKeyCanExpire(t *testing.T) {
	for name, begin := range trouble {
		if name == "no new" {
			continue // what is connected stays so
		}
		t.Run(name, func(t *testing.T) {
			for part := range 12 {
				inBubble(t, func(t *testing.T, w *world) {
					l := w.lock(lease)
					var left time.Duration
					var end func()
					err := l.Do(t.Context(), func(ctx context.Context) error {
						time.Sleep(lease + time.Duration(part)*lease/36)
						start := time.Now()
						end = begin(w)
						lost := untilLost(t, ctx)
						left = w.server.TTL("k")
						between(t, "lost after", lost.Sub(start), lease/2, lease)
						if l.Fence() != 0 {
							t.Error("Fence is not 0 after the loss")
						}
						return nil
					})
					if !errors.Is(err, setlock.ErrLost) {
						t.Errorf("part %d: Do = %v, want ErrLost", part, err)
					}
					// The window of the last renewal that counted; more if a later one did
					// reach the server and its reply did not come.
					if left < lease/10 {
						t.Errorf("part %d: %v of the key was left at the loss, want at least %v", part, left, lease/10)
					}
					end()
				})
			}
		})
	}
}

func TestTrustCountsFromTheRequest(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		err := w.lock(lease).Do(t.Context(), func(ctx context.Context) error {
			time.Sleep(lease)              // a renewal has loaded its script
			const oneWay = lease * 7 / 100 // an attempt may take lease/6
			w.network.Set(redistest.Faults{Delay: oneWay})
			time.Sleep(3 * lease)
			if ctx.Err() != nil {
				t.Fatalf("lost in a slow network: %v", context.Cause(ctx))
			}
			w.network.Set(redistest.Silent)
			untilLost(t, ctx)
			if left := w.server.TTL("k"); left < lease/10+oneWay {
				t.Errorf("%v of the key was left at the loss, want %v: a tenth, and the way of the request", left, lease/10+oneWay)
			}
			w.network.Set(redistest.Faults{})
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) {
			t.Errorf("Do = %v, want ErrLost", err)
		}
	})
}

func TestLateRenewalDoesNotCount(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		err := l.Do(t.Context(), func(ctx context.Context) error {
			time.Sleep(2 * lease)
			// Replies arrive within the attempt, but ever later than before.
			w.network.Set(redistest.Faults{HoldReplies: true})
			lost := untilLost(t, ctx)
			w.network.Set(redistest.Faults{})
			synctest.Wait()
			if l.Fence() != 0 || ctx.Err() == nil {
				t.Errorf("believed again after %v", lost)
			}
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) {
			t.Errorf("Do = %v, want ErrLost", err)
		}
	})
}

func TestLoss(t *testing.T) {
	for name, test := range map[string]struct {
		steal func(w *world, thief *setlock.Lock)
		soon  time.Duration
		why   string
	}{
		"deleted": {
			func(w *world, _ *setlock.Lock) { w.server.Del("k") }, lease / 3, "not ours",
		},
		"deleted and taken, announced": {
			func(w *world, thief *setlock.Lock) { w.server.Del("k"); mustLock(w.t, thief, time.Minute) }, 0, "not ours",
		},
		"taken without a word": {
			func(w *world, _ *setlock.Lock) { w.server.Set("k", "foreign") }, lease / 3, "not ours",
		},
		"another type": {
			func(w *world, _ *setlock.Lock) { w.server.Del("k"); w.server.Lpush("k", "x") }, lease / 3, "not ours",
		},
		"flushed": {
			func(w *world, _ *setlock.Lock) { w.server.FlushAll() }, lease / 3, "not ours",
		},
		"announced only": {
			func(w *world, _ *setlock.Lock) { w.server.Publish("setlock:k", "nonsense") }, -1, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				l, thief := w.lock(lease), w.direct(lease)
				err := l.Do(t.Context(), func(ctx context.Context) error {
					time.Sleep(2 * lease)
					start := time.Now()
					test.steal(w, thief)
					if test.soon < 0 {
						time.Sleep(2 * lease)
						return ctx.Err()
					}
					between(t, "told after", untilLost(t, ctx).Sub(start), 0, test.soon)
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
	inBubble(t, func(t *testing.T, w *world) {
		failure := errors.New("failure")
		err := w.direct(lease).Do(t.Context(), func(ctx context.Context) error {
			w.server.Del("k")
			return failure
		})
		if !errors.Is(err, setlock.ErrLost) || !errors.Is(err, failure) {
			t.Errorf("Do = %v, want ErrLost and the function's error", err)
		}
	})
}

func TestLossByOurOwnNewAcquisition(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(lease)
		err := l.Do(t.Context(), func(ctx context.Context) error {
			w.server.Del("k")
			mustLock(t, l, time.Minute)
			untilLost(t, ctx)
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) {
			t.Errorf("Do = %v, want ErrLost", err)
		}
		if l.Fence() == 0 || w.server.TTL("k") != time.Minute {
			t.Error("the end of the old term released the new hold")
		}
	})
}

func TestSuspendedMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := redistest.NewEmbedded(t)
		l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, e.Dial), Lease: lease}
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

// A virtual machine that is paused stops both clocks: only Redis can tell.
func TestPausedVirtualMachine(t *testing.T) {
	for name, pausedAt := range map[string]time.Duration{"told by an announcement": lease / 10, "told by the next renewal": lease / 30} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				l, other := w.direct(lease), w.direct(lease)
				fake := clocktest.New()
				ctx := clock.NewContext(t.Context(), fake)
				err := l.Do(ctx, func(ctx context.Context) error {
					fake.Advance(lease / 30)
					synctest.Wait()
					fake.Advance(pausedAt - lease/30) // it listens from a twentieth of the lease on
					time.Sleep(2 * lease)             // the machine is paused
					mustLock(t, other, time.Hour)
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

func TestCallerLeavesAndWorkGoesOn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l, other := w.lock(lease), w.direct(lease)
		ctx, cancel := context.WithCancel(t.Context())
		why := errors.New("why")
		err := l.Do(ctx, func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			for range 50 { // ten leases of not listening
				time.Sleep(lease / 5)
				if _, err := other.Lock(t.Context(), time.Second); err != setlock.ErrNotHeld {
					t.Fatalf("another's Lock while the work goes on = %v", err)
				}
				if l.Fence() == 0 {
					t.Fatal("Fence = 0 while the work goes on")
				}
			}
			return why
		})
		if err != why {
			t.Errorf("Do = %v, want the function's error alone", err)
		}
		mustLock(t, other, time.Second)
	})
}

func TestPanicAndGoexitReleaseAndGoOn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(lease)
		func() {
			defer func() {
				if r := recover(); r != "why" {
					t.Errorf("recovered %v, want why", r)
				}
			}()
			l.Do(t.Context(), func(context.Context) error { panic("why") })
		}()
		if w.server.Exists("k") {
			t.Error("the key exists after a panic")
		}
		done := make(chan bool)
		go func() {
			returned := false
			defer func() { done <- returned }()
			l.Do(t.Context(), func(context.Context) error { runtime.Goexit(); return nil })
			returned = true
		}()
		if <-done {
			t.Error("Do swallowed a Goexit")
		}
		if w.server.Exists("k") {
			t.Error("the key exists after a Goexit")
		}
	})
}

func TestUnlockEndsTheWorkFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(lease)
		err := l.Do(t.Context(), func(ctx context.Context) error {
			ended := make(chan bool, 1)
			context.AfterFunc(ctx, func() { ended <- true })
			redistest.Do(t, w.server.Dial, "PING")
			w.server.Server().SetPreHook(func(_ *server.Peer, cmd string, _ ...string) bool {
				if strings.HasPrefix(cmd, "EVAL") && ctx.Err() == nil {
					t.Error("released before the context of the work ended")
				}
				return false
			})
			if err := l.Unlock(t.Context()); err != nil {
				t.Errorf("Unlock: %v", err)
			}
			if w.server.Exists("k") {
				t.Error("the key exists after Unlock")
			}
			untilLost(t, ctx)
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) || !strings.Contains(err.Error(), "Unlock") {
			t.Errorf("Do = %v, want ErrLost that names Unlock", err)
		}
	})
}

func TestReleaseComesAfterTheWork(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(lease)
		var working atomic.Bool
		var of atomic.Value // the context of the work
		redistest.Do(t, w.server.Dial, "PING")
		w.server.Server().SetPreHook(func(_ *server.Peer, cmd string, args ...string) bool {
			if strings.HasPrefix(cmd, "EVAL") && len(args) == 5 {
				if working.Load() {
					t.Error("a release while the work goes on")
				}
				if of.Load().(context.Context).Err() == nil {
					t.Error("a release before the context of the work has ended")
				}
			}
			return false
		})
		for _, end := range []func(){func() {}, func() { w.server.Del("k") }} {
			ctx, cancel := context.WithCancel(t.Context())
			l.Do(ctx, func(ctx context.Context) error {
				of.Store(ctx)
				working.Store(true)
				defer working.Store(false)
				time.Sleep(lease)
				cancel()
				end()
				time.Sleep(lease)
				return nil
			})
		}
		l.Do(t.Context(), func(ctx context.Context) error { // nobody but Do ends it
			of.Store(ctx)
			return nil
		})
	})
}

// A slowConn takes its time to notice that it is broken, and to close.
type slowConn struct {
	redis.Conn
	renewing, open *atomic.Int32
	unsubscribes   func()
	renewal        bool        // what was sent last
	subscribed     atomic.Bool // was ever sent
	closed         atomic.Bool
}

func (c *slowConn) Send(command string, args ...any) error {
	c.renewal = len(args) == 8
	if command == "SUBSCRIBE" {
		c.subscribed.Store(true)
	}
	return c.Conn.Send(command, args...)
}

func (c *slowConn) Receive() (any, error) {
	if c.renewal {
		c.renewing.Add(1)
		defer c.renewing.Add(-1)
	}
	reply, err := c.Conn.Receive()
	if c.Err() != nil {
		time.Sleep(time.Millisecond)
	}
	return reply, err
}

func (c *slowConn) Close() error {
	if c.subscribed.Load() {
		c.unsubscribes()
	}
	err := c.Conn.Close()
	time.Sleep(time.Millisecond)
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return err
}

func (c *slowConn) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, d)
}

func (c *slowConn) DoWithTimeout(d time.Duration, command string, args ...any) (any, error) {
	return redis.DoWithTimeout(c.Conn, d, command, args...)
}

func (c *slowConn) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}

func (c *slowConn) DoContext(ctx context.Context, command string, args ...any) (any, error) {
	return redis.DoContext(c.Conn, ctx, command, args...)
}

// The function of a Do returns while a renewal is on its way: that has ended before the lock is
// released; the end of the subscription is not waited for until then. Nothing is left when Do
// returns.
func TestReleaseComesAfterTheLastRenewal(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var renewing, open atomic.Int32
		var ended atomic.Bool
		var once sync.Once
		released := make(chan struct{})
		l := w.lock(lease)
		dial := l.Pool.DialContext
		l.Pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
			conn, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			open.Add(1)
			return &slowConn{Conn: conn, renewing: &renewing, open: &open, unsubscribes: func() {
				select {
				case <-released:
				case <-time.After(time.Second):
					t.Error("the release waits for the end of the subscription")
				}
				ended.Store(true)
			}}, nil
		}
		redistest.Do(t, w.server.Dial, "PING")
		w.server.Server().SetPreHook(func(_ *server.Peer, cmd string, args ...string) bool {
			if strings.HasPrefix(cmd, "EVAL") && len(args) == 5 {
				once.Do(func() { close(released) })
				if renewing.Load() != 0 {
					t.Error("a release while a renewal waits for its reply")
				}
			}
			return false
		})
		renewals := 0
		w.network.Next(func(request []byte) bool {
			renewal := strings.HasPrefix(string(request), "*9") // EVALSHA and its 8 arguments
			if renewal {
				renewals++
			}
			return renewal
		}, redistest.Lose)
		err := l.Do(t.Context(), func(context.Context) error {
			time.Sleep(lease/20 + lease/100) // the first renewal is without a reply
			return nil
		})
		if err != nil {
			t.Errorf("Do: %v", err)
		}
		if renewals != 1 || !ended.Load() || w.server.Exists("k") {
			t.Errorf("%d renewals, subscription ended: %v, want 1, true", renewals, ended.Load())
		}
		if got, idle := open.Load(), l.Pool.IdleCount(); got != int32(idle) {
			t.Errorf("%d connections are open after Do, want the pool's %d", got, idle)
		}
	})
}

func TestTimesUnderDo(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.direct(lease)
		err := l.Do(t.Context(), func(ctx context.Context) error {
			if err := l.Renew(ctx, time.Second); err != nil {
				t.Errorf("Renew: %v", err)
			}
			if got := w.server.TTL("k"); got != lease {
				t.Errorf("the key lives %v after a Renew of 1s, want %v", got, lease)
			}
			if err := l.Extend(ctx, time.Hour); err != nil {
				t.Errorf("Extend: %v", err)
			}
			if got := w.server.TTL("k"); got != lease+time.Hour {
				t.Errorf("the key lives %v after an Extend of 1h, want %v", got, lease+time.Hour)
			}
			time.Sleep(lease / 3)
			if got := w.server.TTL("k"); got > lease {
				t.Errorf("the key lives %v after a renewal, want %v at most", got, lease)
			}
			return ctx.Err()
		})
		if err != nil {
			t.Errorf("Do: %v", err)
		}
	})
}

// An exhausted pool, a stuck or slow Dial, a closed pool: what a Pool can do to us.

func TestExhaustedPoolCostsNothing(t *testing.T) {
	for name, wait := range map[string]bool{"waits": true, "refuses": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				l := w.lock(lease)
				l.Pool.MaxActive, l.Pool.MaxIdle, l.Pool.Wait = 1, 1, wait
				err := l.Do(t.Context(), func(ctx context.Context) error {
					conn := l.Pool.Get()
					defer conn.Close()
					time.Sleep(10 * lease)
					return ctx.Err()
				})
				if err != nil {
					t.Errorf("Do: %v", err)
				}
				if w.server.Exists("k") {
					t.Error("not released")
				}
			})
		})
	}
}

func TestPoolOfOneConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		l := w.lock(lease)
		l.Pool.MaxActive, l.Pool.MaxIdle, l.Pool.Wait = 1, 1, true
		ctx, cancel := context.WithCancel(t.Context())
		watch := l.Watch(ctx)
		<-watch
		err := l.Do(t.Context(), func(ctx context.Context) error {
			time.Sleep(5 * lease)
			return ctx.Err()
		})
		if err != nil {
			t.Errorf("Do: %v", err)
		}
		cancel()
		for range watch {
		}
	})
}

func TestStuckDial(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		stuck := make(chan struct{})
		var block atomic.Bool
		l := w.lock(lease)
		dial := l.Pool.DialContext
		l.Pool.DialContext = nil
		l.Pool.Dial = func() (redis.Conn, error) {
			if block.Load() {
				<-stuck
			}
			return dial(context.Background())
		}
		var returned time.Time
		err := l.Do(t.Context(), func(ctx context.Context) error {
			time.Sleep(2 * lease)
			start := time.Now()
			block.Store(true)
			w.network.Reset()
			between(t, "lost after", untilLost(t, ctx).Sub(start), lease/2, lease*9/10)
			returned = time.Now()
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) {
			t.Errorf("Do = %v, want ErrLost", err)
		}
		between(t, "Do returned after its function by", time.Since(returned), 0, lease/6+20*time.Millisecond)

		for _, d := range []time.Duration{0, 300 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			start := time.Now()
			if _, err := l.Lock(ctx, time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Lock = %v, want a timeout", err)
			}
			between(t, "Lock returned after", time.Since(start), d, d)
			cancel()
		}
		commands := w.server.CommandCount()
		close(stuck)
		synctest.Wait()
		if got := w.server.CommandCount(); got != commands {
			t.Errorf("helpers that nobody waits for sent %d commands", got-commands)
		}
	})
}

func TestClosedPool(t *testing.T) {
	for name, wait := range map[string]bool{"waits": true, "refuses": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				l := w.lock(lease)
				l.Pool.MaxActive, l.Pool.Wait = 4, wait
				err := l.Do(t.Context(), func(ctx context.Context) error {
					time.Sleep(lease)
					l.Pool.Close()
					time.Sleep(5 * lease)
					return ctx.Err()
				})
				// Renewals and the release do without the pool.
				if err != nil {
					t.Errorf("Do: %v", err)
				}
				for range 100 {
					ctx, cancel := context.WithCancel(t.Context())
					go cancel()
					if _, err := l.Lock(ctx, time.Second); err == nil {
						t.Error("Lock on a closed pool succeeds")
					}
				}
			})
		})
	}
}

func TestDialThatPanicsGoesOn(t *testing.T) {
	l := &setlock.Lock{Key: "k", Pool: &redis.Pool{Wait: true, MaxActive: 1, Dial: func() (redis.Conn, error) { panic("why") }}}
	defer func() {
		if r := recover(); r != "why" {
			t.Errorf("recovered %v, want why", r)
		}
	}()
	l.Lock(context.Background(), time.Second)
}

// In the helper of a call with a context, a panic of Dial ends the process, as any panic
// that nobody recovers does. Only what a closed pool does is an error.
func TestDialThatPanicsInAHelperEndsTheProcess(t *testing.T) {
	if os.Getenv("SETLOCK_TEST_PANIC") != "" {
		ctx, cancel := context.WithCancel(t.Context())
		l := &setlock.Lock{Key: "k", Pool: &redis.Pool{Wait: true, MaxActive: 1, Dial: func() (redis.Conn, error) {
			cancel()
			panic("why")
		}}}
		l.Lock(ctx, time.Second)
		time.Sleep(time.Minute)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "SETLOCK_TEST_PANIC=1")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "panic: why") {
		t.Errorf("the process ended with %v and %s, want the panic", err, out)
	}
}
