package setlock_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/locktest"
)

// A hole is what some connections of a server lead to: nothing that is sent there is answered.
type hole struct {
	mu   sync.Mutex
	left int // how many more connections lead there
	in   []*server.Peer
	ends map[*server.Peer]time.Time // when the client has closed it
}

// newHole returns a hole for connections of w.
func newHole(w *locktest.World) *hole {
	h := &hole{ends: make(map[*server.Peer]time.Time)}
	w.Server.Answer(func(c *server.Peer, args []string) bool { return h.swallow(c, true) }, "renew")
	w.Server.Answer(func(c *server.Peer, args []string) bool { return h.swallow(c, false) }, "WAIT")
	return h
}

// open has the next n connections that renew lead to the hole.
func (h *hole) open(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left = n
}

func (h *hole) swallow(c *server.Peer, renews bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case slices.Contains(h.in, c):
		return true
	case !renews || h.left == 0:
		return false
	}
	h.left--
	h.in = append(h.in, c)
	c.OnDisconnect(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ends[c] = time.Now()
	})
	return true
}

// closed returns when the clients have closed the connections that lead to the hole, oldest first.
func (h *hole) closed() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	var times []time.Time
	for _, c := range h.in {
		if at, ok := h.ends[c]; ok {
			times = append(times, at)
		}
	}
	return times
}

// While connections hang, the sessions whose renewals are not there renew in time: no later than a
// third of the lease after the renewal before. Twenty batches fall due at the same time, and no
// more than sixteen can be under way. So when sixteen hang, the oldest of them are closed after a
// fortieth of the lease, and only then the others are sent.
func TestHangingConnectionsDelayNoOther(t *testing.T) {
	const groups, each, bound = 20, 5, 16 // a batch for each group
	for _, hanging := range []int{1, 2, 8, 15, 16} {
		t.Run(fmt.Sprint(hanging), func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				locktest.LoadScripts(t, w.Direct(lease))
				w.Server.Quick()
				w.Server.Forbid("SUBSCRIBE")
				h := newHole(w)
				renewals := w.Server.Requests("renew")
				w.Server.Confirm(func() int { return groups })
				locks := locktest.Locks(w.Lock(lease).Pool, "k", groups*each, lease)
				for i, l := range locks {
					l.Replicas = i % groups // the renewals of a group need a batch of their own
				}
				c := locktest.NewCrowd(t, locks...)
				start := time.Now()
				h.open(hanging)
				// The hook of the hole answers before the one that counts. So only what is
				// answered counts.
				time.Sleep(lease)
				answered := make(map[string]time.Time) // the first answer
				for _, r := range renewals() {
					if _, ok := answered[r.Key]; !ok {
						answered[r.Key] = r.At
					}
				}
				late := 0
				for _, l := range locks {
					if !answered[l.Key].After(start) {
						t.Errorf("%s was not renewed", l.Key)
					}
					if answered[l.Key].Sub(start) > lease/20+lease/40 {
						late++
					}
				}
				if late != hanging*each {
					t.Errorf("the renewals of %d sessions were late, want %d on each connection that hangs", late, each)
				}
				// None is closed before it counts as hanging. One is closed then if there is no
				// room else.
				closed := h.closed()
				first, last := lease/20+lease/40, lease/20+lease/6
				for i, at := range closed {
					if got := at.Sub(start); got < first || got > last || got < last && hanging < bound/2 {
						t.Errorf("connection %d of %d was closed after %v, want %v to %v", i, hanging, got, first, last)
					}
				}
				if len(closed) != hanging {
					t.Errorf("%d connections of %d that hang were closed", len(closed), hanging)
				}
				if at := slices.MinFunc(closed, time.Time.Compare).Sub(start); hanging == bound && at != first {
					t.Errorf("the first was closed after %v, want %v", at, first)
				}
				for key, gap := range locktest.Gaps(renewals()) {
					if gap > lease/3 {
						t.Errorf("%s was renewed %v after the renewal before, want %v at most", key, gap, lease/3)
					}
				}
				c.MustLose("while connections hang")
			})
		})
	}
}
