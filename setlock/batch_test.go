package setlock_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/setlock"
)

// What happens to a batch of renewals when some of its requests fail.

// inCrowd runs test with n sessions on one Pool, which have just begun and renew together, in one
// batch, a twentieth of the lease after that. No announcement adds a renewal.
func inCrowd(t *testing.T, n, replicas int, test func(t *testing.T, w *locktest.World, locks []*setlock.Lock, c *locktest.Crowd)) {
	t.Helper()
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		w.Server.Quick()
		w.Server.Forbid("SUBSCRIBE")
		pool := w.Lock(lease).Pool
		locktest.LoadScripts(t, w.Direct(lease))
		w.Server.Confirm(func() int { return replicas })
		locks := locktest.Locks(pool, "k", n, lease)
		for _, l := range locks {
			l.Replicas = replicas
		}
		test(t, w, locks, locktest.NewCrowd(t, locks...))
	})
}

// hangs has a connection of w hang from the renewal on that match accepts, until the test ends. The
// renewals before it are answered.
func hangs(w *locktest.World, match func(args []string) bool) {
	end := w.Hold()
	w.Server.Answer(func(_ *server.Peer, args []string) bool {
		if !match(args) {
			return false
		}
		<-end
		return true
	}, "renew")
}

// nth returns a function that returns true at its call number n, counted from 1.
func nth(n int) func([]string) bool {
	var mu sync.Mutex
	calls := 0
	return func([]string) bool {
		mu.Lock()
		defer mu.Unlock()
		calls++
		return calls == n
	}
}

// A connection hangs when half of a batch is answered. The renewals with an answer count. The
// others are retried on other connections, the first of them alone, because it may be the reason.
func TestBatchThatHangsHalfway(t *testing.T) {
	const n = 100
	inCrowd(t, n, 0, func(t *testing.T, w *locktest.World, _ []*setlock.Lock, c *locktest.Crowd) {
		renewals := w.Server.Requests("renew")
		hangs(w, nth(n/2+1))
		time.Sleep(lease / 20)
		synctest.Wait()
		first := renewals()
		if len(first) != n/2+1 {
			t.Fatalf("%d renewals have arrived, want half of %d and one more", len(first), n)
		}
		answered := make(map[string]bool)
		for _, r := range first[:n/2] {
			answered[r.Key] = true
			if left := w.Server.TTL(r.Key); left != lease {
				t.Errorf("%s lives %v after its renewal, want %v", r.Key, left, lease)
			}
		}
		suspect := first[n/2].Key

		time.Sleep(lease/6 + lease/20) // the time-out of an attempt, and the longest pause before a retry
		synctest.Wait()
		retried := make(map[string]locktest.Request)
		for _, r := range renewals()[len(first):] {
			if _, again := retried[r.Key]; !answered[r.Key] && !again {
				retried[r.Key] = r
			}
		}
		if len(retried) != n-n/2 {
			t.Errorf("%d renewals were retried in time, want the %d without an answer", len(retried), n-n/2)
		}
		for key, r := range retried {
			if r.Conn == first[0].Conn {
				t.Fatal("a retry on the connection that hangs")
			}
			if key != suspect && r.Conn == retried[suspect].Conn {
				t.Fatal("the first renewal without an answer was not retried alone")
			}
		}
		time.Sleep(3 * lease)
		c.MustLose("a connection has hung")
	})
}

// The first renewal of many sessions goes out in one batch. None of them comes again at once: the
// second ones are spread.
func TestSecondRenewalsAreSpread(t *testing.T) {
	const n = 200
	inCrowd(t, n, 0, func(t *testing.T, w *locktest.World, _ []*setlock.Lock, _ *locktest.Crowd) {
		renewals := w.Server.Requests("renew")
		time.Sleep(lease / 20)
		synctest.Wait()
		if got := len(renewals()); got != n {
			t.Errorf("%d renewals by %d sessions, want one each", got, n)
		}
		time.Sleep(lease / 3)
		if got := len(renewals()); got < 2*n || got > 3*n {
			t.Errorf("%d renewals by %d sessions an interval later, want one or two more each", got, n)
		}
	})
}
