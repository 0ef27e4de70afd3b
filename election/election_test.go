package election_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/cenkalti/backoff/v4"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/clock/clocktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestMain(m *testing.M) {
	if os.Getenv(candidateRedis) != "" {
		os.Exit(runCandidate())
	}
	redistest.Main(m)
}

const lease = 6 * time.Second

// A world is an embedded server behind a network that fails as it is told, in
// virtual time.
type world struct {
	t       *testing.T
	server  *redistest.Embedded
	network *redistest.Network
}

func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := redistest.NewEmbedded(t)
		test(t, &world{t, server, redistest.NewNetwork(t, server.Dial)})
	})
}

// candidate returns an election on a pool of its own, behind the network.
func (w *world) candidate(owner string, onElected func(context.Context) error) *election.Election {
	return candidate(w.t, w.network.Dial, owner, onElected)
}

func candidate(t *testing.T, dial redistest.Dialer, owner string, onElected func(context.Context) error) *election.Election {
	return &election.Election{
		Lock:      &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Owner: owner, Lease: lease},
		OnElected: onElected,
	}
}

// start runs e until stop is called, which waits for the end of Run; the
// end of t calls it too.
func start(t *testing.T, e *election.Election) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// next returns the next change within d.
func next(t *testing.T, c <-chan election.Change, d time.Duration) election.Change {
	t.Helper()
	select {
	case change, open := <-c:
		if !open {
			t.Fatal("the channel is closed")
		}
		return change
	case <-time.After(d + 1): // in virtual time, 0 is enough for all that needs none
		t.Fatalf("no change within %v", d)
	}
	panic("not reached")
}

func TestElection(t *testing.T) {
	test := func(t *testing.T, dial redistest.Dialer) {
		a, b := candidate(t, dial, "a", nil), candidate(t, dial, "b", nil)
		soon := lease
		changesA := a.Changes()
		if c := next(t, changesA, soon); c != (election.Change{}) {
			t.Errorf("before anything is known: %+v, want the zero Change", c)
		}
		stopA := start(t, a)
		c := next(t, changesA, soon)
		if c.Leader != "a" || !c.Leading || c.Fence == 0 || c.Err != nil || !a.IsLeader() || a.Leader().Owner != "a" {
			t.Errorf("a is told %+v (IsLeader %v, Leader %+v), want that it leads", c, a.IsLeader(), a.Leader())
		}
		fence := c.Fence

		changesB := b.Changes()
		next(t, changesB, soon)
		start(t, b)
		c = next(t, changesB, soon)
		if c.Leader != "a" || c.Leading || c.Fence != fence || b.IsLeader() || b.Leader().Owner != "a" {
			t.Errorf("b is told %+v (IsLeader %v, Leader %+v), want that a leads with %d", c, b.IsLeader(), b.Leader(), fence)
		}

		stopA()
		c = next(t, changesA, soon)
		if c.Leading || c.Leader != "" || !errors.Is(c.Err, context.Canceled) || a.IsLeader() {
			t.Errorf("a is told %+v at its end, want that it leads no more", c)
		}
		if _, open := <-changesA; open {
			t.Error("the channel of a is open after Run")
		}
		if last, open := <-a.Changes(); !open || last != c {
			t.Errorf("Changes after Run gives %+v, %v, want the last state", last, open)
		}
		c = next(t, changesB, soon)
		if c.Leader == "" { // seen between the two
			c = next(t, changesB, soon)
		}
		if c.Leader != "b" || !c.Leading || c.Fence <= fence {
			t.Errorf("b is told %+v, want that it leads with more than %d", c, fence)
		}
	}
	t.Run("embedded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, redistest.NewEmbedded(t).Dial) })
	})
	t.Run("server", func(t *testing.T) { test(t, redistest.NewServer(t).Dial) })
}

// What the README says of a hand-over that is not announced.
func TestHandOverWithoutPush(t *testing.T) {
	for command, bound := range map[string]time.Duration{"SUBSCRIBE": lease / 10, "PUBLISH": lease} {
		t.Run(command+" refused", func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				redistest.Do(t, w.server.Dial, "PING")
				refused := 0
				w.server.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
					if cmd != command {
						return false
					}
					refused++
					c.WriteError("NOPERM this user has no permissions to run it")
					return true
				})
				stop := start(t, w.candidate("0", nil))
				for i := range 20 {
					synctest.Wait()
					next := w.candidate(fmt.Sprint(i+1), nil)
					stopNext := start(t, next)
					time.Sleep(lease + lease*time.Duration(i)/20)
					stop()
					begin := time.Now()
					for !next.IsLeader() {
						time.Sleep(time.Millisecond)
					}
					if took := time.Since(begin); took > bound+2*time.Millisecond {
						t.Errorf("another leads after %v, want %v", took, bound)
					}
					stop = stopNext
				}
				if refused == 0 {
					t.Error("nothing was refused")
				}
			})
		})
	}
}

func TestHandOverIsPushed(t *testing.T) {
	for _, how := range []string{"stop", "resign", "return", "error"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				failure := errors.New("failure")
				leave := make(chan error)
				a := w.candidate("a", func(ctx context.Context) error {
					select {
					case err := <-leave:
						return err
					case <-ctx.Done():
						return nil
					}
				})
				b := w.candidate("b", nil)
				stop := start(t, a)
				synctest.Wait()
				start(t, b)
				time.Sleep(lease)
				changes, changesB := a.Changes(), b.Changes()
				next(t, changes, 0)
				next(t, changesB, 0)
				var want error
				switch how {
				case "stop":
					stop()
					want = context.Canceled
				case "resign":
					a.Resign()
					want = election.ErrResigned
				case "return":
					leave <- nil
				case "error":
					leave <- failure
					want = failure
				}
				for c := next(t, changesB, 0); !c.Leading; c = next(t, changesB, 0) {
				}
				if c := next(t, changes, 0); c.Leading || !errors.Is(c.Err, want) {
					t.Errorf("a is told %+v, want the end because of %v", c, want)
				}
				if how != "stop" {
					// It stays a candidate, and hears of the new leader by push.
					if c := next(t, changes, 0); c.Leader != "b" || c.Leading {
						t.Errorf("a is told %+v, want that b leads", c)
					}
				}
			})
		})
	}
}

func TestFailOver(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		far := redistest.NewNetwork(t, w.server.Dial)
		var lost, working atomic.Int64
		a := candidate(t, far.Dial, "a", func(ctx context.Context) error {
			working.Add(1)
			defer working.Add(-1)
			<-ctx.Done()
			lost.Store(time.Now().UnixNano())
			return nil
		})
		b := w.candidate("b", func(ctx context.Context) error {
			if working.Load() != 0 {
				t.Error("two lead")
			}
			<-ctx.Done()
			return nil
		})
		start(t, a)
		synctest.Wait()
		start(t, b)
		time.Sleep(lease)
		changesA, changesB := a.Changes(), b.Changes()
		next(t, changesA, 0)
		next(t, changesB, 0)
		begin := time.Now()
		far.Set(redistest.Silent)
		if c := next(t, changesA, lease); c.Leading || !errors.Is(c.Err, setlock.ErrLost) {
			t.Errorf("a is told %+v, want that it lost", c)
		}
		for c := next(t, changesB, lease); !c.Leading; c = next(t, changesB, lease) {
		}
		if got := time.Since(begin); got > lease+5*time.Millisecond {
			t.Errorf("b leads after %v, want a lease and a few milliseconds", got)
		}
		if margin := time.Since(time.Unix(0, lost.Load())); margin < lease/10 {
			t.Errorf("b leads %v after a was told, want at least %v", margin, lease/10)
		}
		far.Set(redistest.Faults{})
		if c := next(t, changesA, lease); c.Leader != "b" {
			t.Errorf("a is told %+v, want that b leads", c)
		}
	})
}

// The order at the end of a term, with work that takes its time to stop.
func TestOrderAtTheEnd(t *testing.T) {
	for _, how := range []string{"stop", "resign", "loss"} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				var returned atomic.Bool
				a := w.candidate("a", func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(3 * lease)
					returned.Store(true)
					return nil
				})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- a.Run(ctx) }()
				time.Sleep(lease)
				changes := a.Changes()
				next(t, changes, 0)
				other := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, w.server.Dial)}
				switch how {
				case "stop":
					cancel()
				case "resign":
					a.Resign()
				case "loss":
					w.server.Del("k")
					if _, err := other.Lock(t.Context(), time.Hour); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				if a.IsLeader() {
					t.Error("IsLeader while OnElected is told to stop")
				}
				if how == "loss" {
					if c := next(t, changes, 0); c.Leading || !errors.Is(c.Err, setlock.ErrLost) || returned.Load() {
						t.Errorf("told %+v, want the loss before OnElected returns", c)
					}
				} else {
					select {
					case c := <-changes:
						t.Errorf("told %+v before OnElected has returned", c)
					default:
					}
					for range 10 {
						time.Sleep(lease / 4)
						if _, err := other.Lock(t.Context(), time.Second); err != setlock.ErrNotHeld {
							t.Errorf("another's Lock before OnElected has returned = %v", err)
						}
					}
					if c := next(t, changes, lease); c.Leading || !returned.Load() {
						t.Errorf("told %+v, want the end after OnElected has returned", c)
					}
				}
				if err := a.Check(lease); how == "loss" && err != nil {
					t.Errorf("Check = %v within its tolerance", err)
				}
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}

func TestPermanentEndsRun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		failure := errors.New("failure")
		a := w.candidate("a", func(context.Context) error { return backoff.Permanent(failure) })
		if err := a.Run(t.Context()); err != failure {
			t.Errorf("Run = %v, want %v", err, failure)
		}
		if w.server.Exists("k") {
			t.Error("not released")
		}
	})
}

func TestStopEndsRun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		a.BackOff = func() backoff.BackOff { return &backoff.StopBackOff{} }
		w.network.Set(redistest.Faults{Refuse: true})
		if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Run = %v, want the last error", err)
		}
		a.BackOff = func() backoff.BackOff {
			return backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Second), 3)
		}
		start := time.Now()
		if err := a.Run(t.Context()); err == nil {
			t.Error("Run = nil, want the last error")
		}
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("gave up after %v, want 3s", got)
		}
	})
}

func TestMisuseEndsRun(t *testing.T) {
	pool := &redis.Pool{Dial: func() (redis.Conn, error) { t.Error("dialled"); return nil, errors.New("no") }}
	for want, e := range map[string]*election.Election{
		"no Lock":              {},
		"no Key":               {Lock: &setlock.Lock{Pool: pool}},
		"no Pool":              {Lock: &setlock.Lock{Key: "k"}},
		"Lease 1ms":            {Lock: &setlock.Lock{Key: "k", Pool: pool, Lease: time.Millisecond}},
		"Replicas -1":          {Lock: &setlock.Lock{Key: "k", Pool: pool, Replicas: -1}},
		"BackOff returned nil": {Lock: &setlock.Lock{Key: "k", Pool: pool}, BackOff: func() backoff.BackOff { return nil }},
	} {
		if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Run = %v, want one that says %q", err, want)
		}
	}
}

func TestSecondRun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		stop := start(t, a)
		synctest.Wait()
		if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "running already") {
			t.Errorf("a second Run = %v, want an error", err)
		}
		if !a.IsLeader() {
			t.Error("the second Run ended the first one's term")
		}
		stop()
		// One after the other is fine.
		changes := a.Changes()
		if _, open := <-changes; !open {
			t.Error("no last state")
		}
		start(t, a)
		synctest.Wait()
		if !a.IsLeader() {
			t.Error("a later Run does not lead")
		}
	})
}

func TestPanicAndGoexitGoOn(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, how := range []string{"panic", "goexit"} {
			a := w.candidate("a", func(context.Context) error {
				if how == "panic" {
					panic("why")
				}
				runtime.Goexit()
				return nil
			})
			changes := a.Changes()
			done := make(chan any)
			go func() {
				defer func() { done <- recover() }()
				a.Run(t.Context())
				t.Errorf("%s: Run returned", how)
			}()
			if r := <-done; how == "panic" && r != "why" {
				t.Errorf("recovered %v, want why", r)
			}
			if w.server.Exists("k") {
				t.Errorf("%s: not released", how)
			}
			var last election.Change
			for c := range changes {
				last = c
			}
			if last.Leading || last.Err == nil {
				t.Errorf("%s: the last change is %+v, want the end and why", how, last)
			}
			if a.IsLeader() || a.Check(0) != nil {
				t.Errorf("%s: IsLeader %v, Check %v", how, a.IsLeader(), a.Check(0))
			}
		}
	})
}

func TestChangesSlowReader(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		holder := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, w.server.Dial), Owner: "x"}
		if _, err := holder.Lock(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		a.Changes() // abandoned
		slow, fast := a.Changes(), a.Changes()
		start(t, a)
		var all []election.Change
		for range 50 {
			w.server.Set("k", fmt.Sprint("foreign", len(all))) // another leader
			w.server.Publish("setlock:k", "look")
			synctest.Wait()
			for len(fast) > 0 {
				all = append(all, <-fast)
			}
		}
		if len(all) < 50 {
			t.Fatalf("a reader that keeps up saw %d changes", len(all))
		}
		var seen []election.Change
		for len(slow) > 0 {
			seen = append(seen, <-slow)
		}
		if len(seen) != 16 {
			t.Fatalf("a slow reader has %d changes, want 16", len(seen))
		}
		for i, c := range seen {
			if want := all[len(all)-16+i]; c != want {
				t.Errorf("change %d is %+v, want %+v", i, c, want)
			}
		}
	})
}

func TestCheck(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		leave := make(chan struct{})
		a := w.candidate("a", func(ctx context.Context) error {
			<-leave // ignores its context
			return nil
		})
		if err := a.Check(0); err != nil {
			t.Errorf("Check before Run = %v", err)
		}
		stop := start(t, a)
		time.Sleep(lease)
		if err := a.Check(0); err != nil {
			t.Errorf("Check of a leader = %v", err)
		}
		a.Resign()
		time.Sleep(time.Minute)
		if err := a.Check(time.Minute + 1); err != nil {
			t.Errorf("Check within its tolerance = %v", err)
		}
		if err := a.Check(time.Minute); !errors.Is(err, election.ErrResigned) || !strings.Contains(err.Error(), "still runs 1m0s") {
			t.Errorf("Check = %v, want that OnElected still runs", err)
		}
		close(leave)
		time.Sleep(time.Second)
		if err := a.Check(0); err != nil {
			t.Errorf("Check after OnElected has returned = %v", err)
		}

		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		time.Sleep(2 * lease)
		err := a.Check(lease)
		if err == nil || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("Check = %v, want the error of Redis", err)
		}
		if err := a.Check(2 * lease); err != nil {
			t.Errorf("Check within its tolerance = %v", err)
		}
		w.network.Set(redistest.Faults{})
		time.Sleep(2 * lease)
		if err := a.Check(0); err != nil {
			t.Errorf("Check when Redis is back = %v", err)
		}
		stop()
	})
}

func TestServeHTTP(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.candidate("a", nil), w.candidate("b", nil)
		start(t, a)
		synctest.Wait()
		start(t, b)
		synctest.Wait()
		for _, test := range []struct {
			e    *election.Election
			code int
		}{{a, http.StatusOK}, {b, http.StatusServiceUnavailable}} {
			rec := httptest.NewRecorder()
			test.e.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
			var body struct {
				Key, Owner, Leader string
				Leading            bool
				Fence              int64
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if rec.Code != test.code || body.Key != "k" || body.Owner != test.e.Lock.Owner || body.Leader != "a" ||
				body.Leading != (test.code == 200) || body.Fence != a.Leader().Fence || rec.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s answers %d, %+v", test.e.Lock.Owner, rec.Code, body)
			}
			rec = httptest.NewRecorder()
			test.e.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/", nil))
			if rec.Code != http.StatusMethodNotAllowed || rec.Header().Get("Allow") == "" {
				t.Errorf("POST answers %d", rec.Code)
			}
		}
	})
	rec := httptest.NewRecorder()
	new(election.Election).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("without a Lock: %d, want 503", rec.Code)
	}
}

func TestIsLeaderOnASuspendedMachine(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		fake := clocktest.New()
		ctx, cancel := context.WithCancel(clock.NewContext(t.Context(), fake))
		a := w.candidate("a", nil)
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		synctest.Wait()
		if !a.IsLeader() {
			t.Error("not elected")
		}
		fake.Suspend(lease) // no timer has seen it
		if a.IsLeader() {
			t.Error("IsLeader after a suspension")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestIsLeaderJudgesAtTheCall(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		start(t, a)
		time.Sleep(lease)
		w.network.Set(redistest.Silent)
		begin := time.Now()
		for a.IsLeader() {
			time.Sleep(time.Millisecond)
		}
		if got := time.Since(begin); got > lease*9/10 {
			t.Errorf("IsLeader for %v without Redis, want %v at most", got, lease*9/10)
		}
		w.network.Set(redistest.Faults{})
	})
}

// goroutines counts those of elections and their locks.
func goroutines() (n int) {
	synctest.Wait()
	buf := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "example.com/setlock/election.(") || strings.Contains(stack, "example.com/setlock/setlock.(") {
			n++
		}
	}
	return n
}

// No goroutine more than is needed: two to lead, without the watch of one that has
// never had to wait, and two to follow.
func TestGoroutines(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		start(t, w.candidate("a", nil))
		time.Sleep(2 * lease)
		if got := goroutines(); got != 2 {
			t.Errorf("%d goroutines to lead, want 2", got)
		}
		start(t, w.candidate("b", nil))
		time.Sleep(2 * lease)
		if got := goroutines(); got != 4 {
			t.Errorf("%d goroutines to lead and to follow, want 4", got)
		}
	})
}

// A Run that ends by itself after it has followed leaves nothing behind.
func TestRunThatEndsByItselfLeavesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		stop := start(t, w.candidate("a", nil))
		time.Sleep(lease)
		failure := errors.New("failure")
		b := w.candidate("b", func(context.Context) error { return backoff.Permanent(failure) })
		time.AfterFunc(lease, stop)
		if err := b.Run(t.Context()); err != failure {
			t.Errorf("Run = %v, want %v", err, failure)
		}
		if got := goroutines(); got != 0 {
			t.Errorf("%d goroutines are left", got)
		}
	})
}
