// Package locktest has what the tests of the lock share: an embedded server in virtual
// time, calls that must succeed, faults by the name of a script, and what a watch sees.
package locktest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// Lease is the Lease of a Lock in a test that needs no other.
const Lease = 6 * time.Second

// OnBoth runs test on an embedded server in virtual time, and on a real one.
func OnBoth(t *testing.T, test func(t *testing.T, dial redistest.Dialer)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, redistest.NewEmbedded(t).Dial) })
	})
	t.Run("server", func(t *testing.T) {
		test(t, redistest.NewServer(t).Dial)
	})
}

// A World is an embedded server and a network to it that can fail, in virtual time.
type World struct {
	Server  *Server
	Network *redistest.Network

	t *testing.T
}

// InBubble runs test in a bubble of testing/synctest, with a World of its own.
func InBubble(t *testing.T, test func(t *testing.T, w *World)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := NewServer(t)
		test(t, &World{Server: server, Network: redistest.NewNetwork(t, server.Dial), t: t})
	})
}

// Lock returns a Lock of the key k whose Pool, its own, goes through the network.
func (w *World) Lock(lease time.Duration) *setlock.Lock {
	return &setlock.Lock{Key: "k", Pool: redistest.Pool(w.t, w.Network.Dial), Lease: lease}
}

// Direct returns a Lock of the key k whose Pool, its own, does not go through the network.
func (w *World) Direct(lease time.Duration) *setlock.Lock {
	return &setlock.Lock{Key: "k", Pool: redistest.Pool(w.t, w.Server.Dial), Lease: lease, Owner: "direct"}
}

// Disconnect breaks every connection through the network, and has it refuse new ones until its Set.
func (w *World) Disconnect() {
	w.Network.Set(redistest.Faults{Refuse: true})
	w.Network.Reset()
}

// Hold returns a channel that is closed when the test ends.
func (w *World) Hold() <-chan struct{} {
	end := make(chan struct{})
	w.t.Cleanup(func() { close(end) })
	return end
}

// Pair returns two Locks of the key k, of the owners a and b, with a Pool each.
func Pair(t testing.TB, dial redistest.Dialer) (a, b *setlock.Lock) {
	a = &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Owner: "a"}
	b = &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Owner: "b"}
	return a, b
}

// MustLock acquires l for d.
func MustLock(t testing.TB, l *setlock.Lock, d time.Duration) {
	t.Helper()
	if left, err := l.Lock(t.Context(), d); err != nil || left != 0 {
		t.Fatalf("Lock = %v, %v, want 0, nil", left, err)
	}
}

// MustUnlock releases l.
func MustUnlock(t testing.TB, l *setlock.Lock) {
	t.Helper()
	if err := l.Unlock(t.Context()); err != nil {
		t.Fatalf("Unlock: %v", err)
	}
}

// MustRenew renews l for d.
func MustRenew(t testing.TB, l *setlock.Lock, d time.Duration) {
	t.Helper()
	if err := l.Renew(t.Context(), d); err != nil {
		t.Fatalf("Renew: %v", err)
	}
}

// HasKey reports whether the lock key k exists on the server that dial reaches.
func HasKey(t testing.TB, dial redistest.Dialer) bool {
	t.Helper()
	return redistest.Do(t, dial, "EXISTS", "k") == int64(1)
}

// PTTL returns the remaining time of the lock key k on the server that dial reaches.
func PTTL(t testing.TB, dial redistest.Dialer) time.Duration {
	t.Helper()
	ms, _ := redis.Int64(redistest.Do(t, dial, "PTTL", "k"), nil)
	return time.Duration(ms) * time.Millisecond
}

// MustExtend extends l by d.
func MustExtend(t testing.TB, l *setlock.Lock, d time.Duration) {
	t.Helper()
	if err := l.Extend(t.Context(), d); err != nil {
		t.Fatalf("Extend: %v", err)
	}
}

// Fails fails t unless err is an error other than ErrNotHeld and ErrAlreadyHeld.
func Fails(t testing.TB, what string, err error) {
	t.Helper()
	if err == nil || err == setlock.ErrNotHeld || err == setlock.ErrAlreadyHeld {
		t.Errorf("%s = %v, want an error that is no sentinel", what, err)
	}
}

// FenceEnded fails t if the Fence of l is not 0, while another holds the lock.
func FenceEnded(t testing.TB, l *setlock.Lock) {
	t.Helper()
	if got := l.Fence(); got != 0 {
		t.Errorf("Fence = %d while another holds the lock, want 0", got)
	}
}

// LoadScripts loads every script, and leaves an idle connection in the Pool of l.
func LoadScripts(t testing.TB, l *setlock.Lock) {
	t.Helper()
	MustLock(t, l, time.Second)
	MustRenew(t, l, time.Second)
	MustExtend(t, l, time.Second)
	if _, err := l.Holder(t.Context()); err != nil {
		t.Fatalf("Holder: %v", err)
	}
	MustUnlock(t, l)
}

// Between fails t unless low <= got <= high.
func Between(t testing.TB, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %v, want %v to %v", what, got, low, high)
	}
}
