package locktest

import (
	"context"
	"strconv"
	"testing"
	"time"

	"example.com/setlock/internal/protocol"
	"example.com/setlock/setlock"
)

// Watch returns a watch of l that ends with t.
func Watch(t testing.TB, l *setlock.Lock) <-chan setlock.Holder {
	ctx, cancel := context.WithCancel(t.Context())
	c := l.Watch(ctx)
	t.Cleanup(func() {
		cancel()
		for range c {
		}
	})
	return c
}

// Receive returns what c has within d. In virtual time, a d of 0 is enough for all that
// takes no time.
func Receive[T any](t testing.TB, c <-chan T, d time.Duration) T {
	t.Helper()
	select {
	case v, open := <-c:
		if !open {
			t.Fatal("the channel is closed")
		}
		return v
	case <-time.After(d + 1):
		t.Fatalf("nothing was received within %v", d)
	}
	panic("not reached")
}

// Quiet fails t if c has anything within d.
func Quiet[T any](t testing.TB, c <-chan T, d time.Duration) {
	t.Helper()
	select {
	case v, open := <-c:
		t.Errorf("received %+v, %v, want nothing for %v", v, open, d)
	case <-time.After(d):
	}
}

// SeesHold fails t unless c reports within d that l holds the lock.
func SeesHold(t testing.TB, c <-chan setlock.Holder, l *setlock.Lock, d time.Duration) {
	t.Helper()
	if h := Receive(t, c, d); h.Fence != l.Fence() || h.Nobody() {
		t.Errorf("saw %+v, want fence %d", h, l.Fence())
	}
}

// SeesHolder fails t unless c reports within d that owner holds the lock with fence.
func SeesHolder(t testing.TB, c <-chan setlock.Holder, owner string, fence int64, d time.Duration) {
	t.Helper()
	if h := Receive(t, c, d); h.Owner != owner || h.Fence != fence {
		t.Errorf("saw %+v, want %s, fence %d", h, owner, fence)
	}
}

// SeesNobody fails t unless c reports within d that nobody holds the lock.
func SeesNobody(t testing.TB, c <-chan setlock.Holder, d time.Duration) {
	t.Helper()
	if h := Receive(t, c, d); !h.Nobody() {
		t.Errorf("saw %+v, want nobody", h)
	}
}

// Value returns what an acquisition by owner stores in its key.
func Value(owner string) string { return "ABCDEFGHIJKLMNOPQRSTUVWXYZ:" + owner }

// Acquired returns the announcement of an acquisition by owner for Lease. The fence before is
// previous; 0 for none.
func Acquired(owner string, fence, previous int64) string {
	a := protocol.Announcement{Acquired: true, Value: Value(owner), Fence: fence, Lease: Lease}
	if previous > 0 {
		a.Previous = strconv.FormatInt(previous, 10)
	}
	return a.String()
}

// Released returns the announcement of a release by owner.
func Released(owner string) string { return protocol.Announcement{Value: Value(owner)}.String() }
