package election_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

// foreign makes a foreign value, whose number is n, the holder of the lock, and has everybody look.
func (w *world) foreign(n int) {
	w.server.Set("k", fmt.Sprint("foreign", n))
	w.server.Publish("setlock:k", "look")
}

func TestChangesSlowReader(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		w.hold(w.other("x"))
		a.Changes() // abandoned
		slow, fast := a.Changes(), a.Changes()
		start(t, a)
		var all []election.Change
		for range 50 {
			w.foreign(len(all)) // another leader
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

// A watch and an election whose readers never read: their memory is bounded through hours of changes.
func TestReadersThatNeverRead(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		for range 10 {
			a.Changes()
		}
		start(t, a)
		watcher := w.other("")
		watcher.Lease = lease
		unread := watcher.Watch(t.Context())
		measure := func() uint64 {
			synctest.Wait()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		churn := func(n int) {
			for i := range n {
				w.foreign(i)
				time.Sleep(5 * time.Second)
				a.Resign()
			}
		}
		churn(200)
		before := measure()
		churn(2000) // close to three hours
		if after := measure(); after > before+(1<<20) {
			t.Errorf("the heap grew from %d to %d bytes", before, after)
		}
		// The newest holder is in the channel.
		if h := <-unread; h.Owner != "foreign1999" && !h.Nobody() && h.Owner != "a" {
			t.Errorf("the watch has %+v, want the newest", h)
		}
	})
}

func TestChannelsOfARunThatCannotBegin(t *testing.T) {
	for _, e := range []*election.Election{{}, {Lock: &setlock.Lock{}}} {
		changes := changesOf(t, e)
		if err := e.Run(t.Context()); err == nil {
			t.Error("Run = nil")
		}
		if _, open := <-changes; open {
			t.Error("the channel is open after Run")
		}
	}
}

// Redis loses its data and its clock is set back, so the fence of the next leader is lower than that
// of our last term. Changes tells of the next leader all the same.
func TestLeaderWithALowerFenceIsSeen(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		changes := changesOf(t, a)
		start(t, a)
		own := next(t, changes, 0)
		w.server.FlushAll()
		w.server.SetTime(time.Now().Add(-time.Hour))
		start(t, w.candidate("b", nil))
		if c := next(t, changes, lease); c.Leading || !errors.Is(c.Err, setlock.ErrLost) {
			t.Errorf("told %+v, want the loss", c)
		}
		if c := next(t, changes, lease); c.Leader != "b" || c.Fence == 0 || c.Fence >= own.Fence {
			t.Errorf("told %+v, want that b leads with less than %d", c, own.Fence)
		}
		if got := a.Leader(); got.Owner != "b" {
			t.Errorf("Leader = %+v, want b", got)
		}
		time.Sleep(lease)
		if len(changes) > 0 {
			t.Errorf("told %+v besides", <-changes)
		}
	})
}

// A watch is late: it shows the term of another candidate when our own term, which came later, is
// over. Changes does not tell of a new leader then.
func TestEarlierTermIsNotSeenAfterOurs(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		terms := make(chan time.Time, 1)
		var a *election.Election
		a = candidate(t, func(ctx context.Context) (net.Conn, error) {
			conn, err := w.network.Dial(ctx) // takes what the server sends at once
			return &lateNews{Conn: conn, by: 20 * time.Millisecond}, err
		}, "a", func(context.Context) error {
			terms <- time.Now()
			a.Resign()
			return nil
		})
		other := w.other("other")
		unlock := func() {
			t.Helper()
			if err := other.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.hold(other)
		start(t, a)
		time.Sleep(time.Second)
		changes := changesOf(t, a)
		unlock()
		time.Sleep(time.Millisecond)
		w.hold(other)
		time.Sleep(time.Millisecond)
		unlock()

		first := <-terms
		if second := <-terms; second.Sub(first) < 50*time.Millisecond {
			t.Errorf("elected again %v after its term, want a step of the pace", second.Sub(first))
		}
		led := false
		for len(changes) > 0 {
			c := <-changes
			led = led || c.Leading
			if led && c.Leader == "other" {
				t.Errorf("told %+v after its own term", c)
			}
		}
		if !led {
			t.Error("not told of its own term")
		}
	})
}

// A lateNews is a connection on which announcements come late.
type lateNews struct {
	net.Conn
	by    time.Duration
	hears atomic.Bool
}

func (c *lateNews) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("SUBSCRIBE")) {
		c.hears.Store(true)
	}
	return c.Conn.Write(b)
}

func (c *lateNews) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.hears.Load() {
		time.Sleep(c.by)
	}
	return n, err
}
