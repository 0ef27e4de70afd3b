package election_test

import (
	"context"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/election"
	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestMain(m *testing.M) {
	if os.Getenv(candidateRedis) != "" {
		os.Exit(runCandidate())
	}
	if os.Getenv(leadersRedis) != "" {
		os.Exit(runLeaders())
	}
	leaktest.Main(m)
}

const lease = 6 * time.Second

// A world is an embedded server behind a network that fails on demand, in virtual time.
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

// candidates starts a candidate for each owner. Each sends itself to the channel when it is elected,
// and leads until its context ends.
func (w *world) candidates(owners ...string) (elected <-chan *election.Election) {
	c := make(chan *election.Election, 1)
	for _, owner := range owners {
		var e *election.Election
		e = w.candidate(owner, func(ctx context.Context) error {
			c <- e
			<-ctx.Done()
			return nil
		})
		start(w.t, e)
	}
	return c
}

// leadAndFollow starts a, which is elected, and then b, which follows. It returns after a lease.
func (w *world) leadAndFollow(a, b *election.Election) (stopA func()) {
	stopA = start(w.t, a)
	synctest.Wait()
	start(w.t, b)
	time.Sleep(lease)
	return stopA
}

// run runs e until ctx ends. wait returns after Run has; the end of t calls it too.
func run(ctx context.Context, t *testing.T, e *election.Election) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	wait = func() { <-done }
	t.Cleanup(wait)
	return wait
}

// start runs e until stop is called, which waits for the end of Run. The end of t stops e, too.
func start(t *testing.T, e *election.Election) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	wait := run(ctx, t, e)
	return func() {
		cancel()
		wait()
	}
}

// ignoring returns an OnElected that ignores its context until leave is called.
func ignoring() (onElected func(context.Context) error, leave func()) {
	c := make(chan struct{})
	return func(context.Context) error { <-c; return nil }, sync.OnceFunc(func() { close(c) })
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

// nextLeading returns the next change that tells that the candidate leads. Each change comes within d.
func nextLeading(t *testing.T, c <-chan election.Change, d time.Duration) election.Change {
	t.Helper()
	for {
		if change := next(t, c, d); change.Leading {
			return change
		}
	}
}

// changesOf returns the changes of e after the present state.
func changesOf(t *testing.T, e *election.Election) <-chan election.Change {
	t.Helper()
	changes := e.Changes()
	select {
	case _, open := <-changes:
		if !open {
			t.Fatal("the channel is closed")
		}
	default:
		t.Fatal("the channel is empty")
	}
	return changes
}

// other returns a lock on the key of the candidates, past the network.
func (w *world) other(owner string) *setlock.Lock {
	return &setlock.Lock{Key: "k", Pool: redistest.Pool(w.t, w.server.Dial), Owner: owner}
}

// hold acquires l for an hour.
func (w *world) hold(l *setlock.Lock) {
	w.t.Helper()
	if _, err := l.Lock(w.t.Context(), time.Hour); err != nil {
		w.t.Fatal(err)
	}
}

// steal takes the key from its holder, for l.
func (w *world) steal(l *setlock.Lock) {
	w.t.Helper()
	w.server.Del("k")
	w.hold(l)
}

// hook has f see each request. The server does not run a request for which f returns true.
func (w *world) hook(f server.Hook) {
	redistest.Do(w.t, w.server.Dial, "PING") // the first connection starts the server
	w.server.Server().SetPreHook(f)
}

// refuse makes the server refuse a command. It returns how many times that has happened.
func (w *world) refuse(command string) *atomic.Int64 {
	var refused atomic.Int64
	w.hook(func(c *server.Peer, cmd string, _ ...string) bool {
		if !strings.EqualFold(cmd, command) {
			return false
		}
		refused.Add(1)
		c.WriteError("NOPERM this user has no permissions to run it")
		return true
	})
	return &refused
}

// onAcquisition has f answer each acquisition, unless f returns false.
func (w *world) onAcquisition(f func(c *server.Peer) bool) {
	w.hook(func(c *server.Peer, cmd string, args ...string) bool {
		// No other script has two keys and five arguments or more.
		return strings.EqualFold(cmd, "EVALSHA") && len(args) >= 2+2+5 && args[1] == "2" && f(c)
	})
}

// heldByAnother is the answer to an acquisition of a lock that another holds.
func heldByAnother(c *server.Peer) {
	c.WriteLen(2)
	c.WriteInt(3)
	c.WriteInt(100) // ms
}

// goroutines counts the goroutines of elections and their locks.
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

// eventually waits until ok returns true, and fails t if that takes longer than d.
func eventually(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", d, what)
		}
	}
}
