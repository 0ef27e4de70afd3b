package setlock_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/locktest"
)

// One WAIT confirms a batch. Too few replicas confirm a batch: none of its renewals counts,
// although the primary has made them. Each is retried, and each session is lost when the
// trust of its acquisition ends.
func TestBatchThatTooFewReplicasConfirm(t *testing.T) {
	const n = 50
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.LoadScripts(t, w.Direct(lease))
		w.Server.Quick()
		w.Server.Forbid("SUBSCRIBE")
		var mu sync.Mutex
		confirms := 2
		waits := make(map[*server.Peer]int)
		w.Server.Answer(func(c *server.Peer, args []string) bool {
			mu.Lock()
			defer mu.Unlock()
			waits[c]++
			if want := fmt.Sprint((lease / 12).Milliseconds()); args[0] != "2" || args[1] != want {
				t.Errorf("WAIT %v, want for 2 replicas and %s ms", args, want)
			}
			c.WriteInt(confirms)
			return true
		}, "WAIT")
		locks := locktest.Locks(w.Lock(lease).Pool, "k", n, lease)
		for _, l := range locks {
			l.Replicas = 2
		}
		c := locktest.NewCrowd(t, locks...)
		start := time.Now()
		mu.Lock()
		confirms = 1
		clear(waits)
		mu.Unlock()
		renewals := w.Server.Requests("renew")

		time.Sleep(lease / 20)
		synctest.Wait()
		first := renewals()
		mu.Lock()
		if len(first) != n || len(waits) != 1 || waits[first[0].Conn] != 1 {
			t.Errorf("%d renewals, and WAIT on %d connections, want %d and one WAIT for all", len(first), len(waits), n)
		}
		mu.Unlock()
		for _, l := range locks {
			if left := w.Server.TTL(l.Key); left != lease {
				t.Errorf("%s lives %v, want %v: the primary has made the renewal", l.Key, left, lease)
			}
		}

		time.Sleep(lease / 20)
		synctest.Wait()
		if got := len(locktest.Gaps(renewals())); got != n {
			t.Errorf("%d renewals were retried within %v, want all %d", got, lease/20, n)
		}
		time.Sleep(lease)
		lost := c.Lost()
		if len(lost) != n {
			t.Errorf("%d of %d sessions were lost", len(lost), n)
		}
		for key, loss := range lost {
			if got := loss.At.Sub(start); got != lease*9/10 || !strings.Contains(loss.Err.Error(), "confirmed by 1 of 2 replicas") {
				t.Errorf("%s was lost after %v: %v, want after %v because of the shortfall", key, got, loss.Err, lease*9/10)
			}
		}
	})
}
