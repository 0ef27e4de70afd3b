package setlock_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// Redis forgets its scripts while a hundred sessions renew. Nobody is lost, and no renewal is late,
// because the batch loads the script and goes out again at once.
func TestScriptFlushWithinABatch(t *testing.T) {
	const n = 100
	for _, replicas := range []int{0, 1} {
		t.Run(fmt.Sprint("Replicas ", replicas), func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				w.Server.Forbid("SUBSCRIBE")
				waits := w.Server.Count("WAIT")
				w.Server.Confirm(func() int { return replicas })
				locktest.LoadScripts(t, w.Direct(lease))
				locks := locktest.Locks(w.Lock(lease).Pool, "k", n, lease)
				for _, l := range locks {
					l.Replicas = replicas
				}
				c := locktest.NewCrowd(t, locks...)
				renewals, acquired := w.Server.Requests("renew"), waits()
				flush := func() { redistest.Do(t, w.Server.Dial, "SCRIPT", "FLUSH") }

				flush()
				time.Sleep(lease / 20)
				synctest.Wait()
				if got := len(renewals()); got != 2*n {
					t.Errorf("%d renewals by %d sessions whose script was missing, want two each", got, n)
				}
				if got := waits() - acquired; got != 2*replicas {
					t.Errorf("%d WAIT in a batch of two rounds, want one a round", got)
				}
				confirmedNow(t, w, locks)

				for range 6 { // later batches, of any size
					time.Sleep(lease / 5)
					flush()
				}
				time.Sleep(lease / 3)
				for key, gap := range locktest.Gaps(renewals()) {
					if gap > lease/3 {
						t.Errorf("%s was renewed %v after the renewal before, want %v at most", key, gap, lease/3)
					}
				}
				time.Sleep(lease)
				c.MustLose("after the flushes")
			})
		})
	}
}

// confirmedNow fails t unless all keys have been renewed at this moment.
func confirmedNow(t *testing.T, w *locktest.World, locks []*setlock.Lock) {
	t.Helper()
	for _, l := range locks {
		if left := w.Server.TTL(l.Key); left != lease {
			t.Errorf("%s lives %v, want %v", l.Key, left, lease)
		}
	}
}
