package setlock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// onBoth runs test in virtual time on an embedded server, and on a real one.
func onBoth(t *testing.T, test func(t *testing.T, dial redistest.Dialer)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, redistest.NewEmbedded(t).Dial) })
	})
	t.Run("server", func(t *testing.T) {
		test(t, redistest.NewServer(t).Dial)
	})
}

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

// lock returns a Lock with a pool of its own behind the network.
func (w *world) lock(lease time.Duration) *setlock.Lock {
	return &setlock.Lock{Key: "k", Pool: redistest.Pool(w.t, w.network.Dial), Lease: lease}
}

// direct returns a Lock whose pool does not go through the network.
func (w *world) direct(lease time.Duration) *setlock.Lock {
	return &setlock.Lock{Key: "k", Pool: redistest.Pool(w.t, w.server.Dial), Lease: lease, Owner: "direct"}
}

// mustLock acquires l.
func mustLock(t *testing.T, l *setlock.Lock, d time.Duration) {
	t.Helper()
	if left, err := l.Lock(t.Context(), d); err != nil || left != 0 {
		t.Fatalf("Lock = %v, %v, want 0, nil", left, err)
	}
}

// untilLost waits until ctx ends and returns when that was.
func untilLost(t *testing.T, ctx context.Context) time.Time {
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, setlock.ErrLost) {
		t.Errorf("the context ended with the cause %v, want ErrLost", cause)
	}
	return time.Now()
}

// between fails t unless low <= got <= high.
func between(t *testing.T, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %v, want %v to %v", what, got, low, high)
	}
}
