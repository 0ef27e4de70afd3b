package setlock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/locktest"
)

// Sessions of very different Leases on one Pool. Neither sets the pace of the other.

const (
	short = 100 * time.Millisecond
	long  = time.Hour
)

// twoCrowds starts n sessions with the short and m with a long Lease on one Pool of w.
func twoCrowds(t *testing.T, w *locktest.World, n, m int, long time.Duration) (*locktest.Crowd, *redis.Pool) {
	locktest.LoadScripts(t, w.Direct(lease))
	w.Server.Quick()
	w.Server.Forbid("SUBSCRIBE")
	pool := w.Lock(lease).Pool
	locks := append(locktest.Locks(pool, "short", n, short), locktest.Locks(pool, "long", m, long)...)
	return locktest.NewCrowd(t, locks...), pool
}

// paces returns how many renewals each session has sent, by its Lease, and fails t if a short one
// was late by more than late.
func paces(t *testing.T, requests []locktest.Request, late time.Duration) map[time.Duration]map[string]int {
	t.Helper()
	counts := map[time.Duration]map[string]int{short: {}, long: {}}
	for _, r := range requests {
		counts[leaseOf(r.Key)][r.Key]++
	}
	for key, gap := range locktest.Gaps(requests) {
		if leaseOf(key) == short && gap > short/3+late {
			t.Errorf("%s was renewed %v after the renewal before, want %v at most", key, gap, short/3+late)
		}
	}
	return counts
}

func leaseOf(key string) time.Duration {
	if key[0] == 's' {
		return short
	}
	return long
}

func TestEachLeaseHasItsOwnPace(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		const few, many = 3, 100
		c, _ := twoCrowds(t, w, few, many, long)
		renewals := w.Server.Requests("renew")
		d := long/20 + time.Second // the first renewals of the long ones are past, and few others
		time.Sleep(d)
		counts := paces(t, renewals(), 0)
		for _, n := range counts[short] {
			if least := int(d / (short / 3)); n < least || n > least*11/10 {
				t.Errorf("%d renewals of a short Lease in %v, want about %d", n, d, least)
			}
		}
		for key, n := range counts[long] {
			if n > 2 {
				t.Errorf("%d renewals of %s in %v, want one or two", n, key, d)
			}
		}
		if len(counts[short]) != few || len(counts[long]) != many {
			t.Errorf("%d and %d sessions have renewed, want %d and %d", len(counts[short]), len(counts[long]), few, many)
		}
		c.MustLose("in calm")
	})
}

// A thousand of each; with the race detector, a hundred.
func TestManyOfEachLease(t *testing.T) {
	n := 1000
	if leaktest.RaceDetector() {
		n = 100
	}
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		c, _ := twoCrowds(t, w, n, n, long)
		renewals := w.Server.Requests("renew")
		w.Server.ClockTTL(false)
		time.Sleep(10 * short)
		counts := paces(t, renewals(), 0)
		if len(counts[short]) != n || len(counts[long]) != 0 {
			t.Errorf("%d short and %d long Leases were renewed in %v, want all and none", len(counts[short]), len(counts[long]), 10*short)
		}
		c.MustLose("in calm")
	})
}

// Redis refuses all renewals when those of the long Lease are due. They are retried at their own
// pace, while those of the short Lease are retried at theirs.
func TestEachLeaseHasItsOwnRetries(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		const few, many, minute = 20, 100, time.Minute
		c, _ := twoCrowds(t, w, few, many, minute)
		renewals := w.Server.Requests("renew")
		due := time.Now().Add(minute / 20)
		w.Server.Refuse("BUSY Redis is busy", func() bool { return time.Since(due).Abs() < short/4 }, "renew")
		time.Sleep(minute/20 + minute/40 - 1)
		tried, retries := make(map[string]int), 0
		for _, r := range renewals() {
			tried[r.Key]++
			if leaseOf(r.Key) == short && r.At.Sub(due).Abs() < short/4 {
				retries++
			}
		}
		if retries < few {
			t.Errorf("%d renewals of %d short Leases were refused, want more", retries, few)
		}
		for key, n := range tried {
			if leaseOf(key) == long && n != 1 {
				t.Errorf("%s was tried %d times within a fortieth of its lease, want 1", key, n)
			}
		}
		time.Sleep(minute)
		c.MustLose("after a short trouble")
	})
}

// Batches of the long Lease hang. No short one is late. When there are as many batches as there may
// be, or more, a short one is late by a fortieth of its lease at most. None is renewed more often than
// every sixth of its lease.
func TestLongBatchThatHangsDelaysNoShortOne(t *testing.T) {
	for _, hanging := range []int{1, 15, 16, 40} {
		locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
			const few, minute = 30, time.Minute
			c, pool := twoCrowds(t, w, few, 0, minute)
			w.Server.Confirm(func() int { return hanging })
			long := locktest.Locks(pool, "long", hanging, minute)
			for i, l := range long {
				l.Replicas = i // so each needs a batch of its own
				c.Add(l)
			}
			synctest.Wait()
			w.Server.Answer(func(_ *server.Peer, args []string) bool {
				return leaseOf(locktest.KeyOf(args)) != short
			}, "renew")
			all := w.Server.Requests("renew")
			time.Sleep(minute/20 + minute/40)
			hang := w.Server.Requests("renew") // from now on, the connections count as hanging
			const d = minute / 10
			time.Sleep(d)
			late := time.Duration(0)
			if hanging >= 16 {
				late = short / 40
			}
			paces(t, all(), late)
			for key, n := range paces(t, hang(), late)[short] {
				if most := int(d / (short / 6)); n > most {
					t.Errorf("%s was renewed %d times, want %d at most", key, n, most)
				}
			}
			c.MustLose("while batches hang")
		})
	}
}
