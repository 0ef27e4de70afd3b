package setlock_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// Processes of the earlier version and of the present one share a key while an upgrade is rolled
// out, and if it is rolled back. These tests prove that they then keep every promise together. See
// testdata/earlier/README.md.

// compatibleKeys are keys with and without a hash tag of Redis Cluster.
var compatibleKeys = []string{"k", "{jobs}:k"}

// onVersions runs test on both servers, with a lock of each version for one key.
func onVersions(t *testing.T, test func(t *testing.T, dial redistest.Dialer, earlier *earlierLock, present *setlock.Lock)) {
	t.Helper()
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		for _, key := range compatibleKeys {
			present := &setlock.Lock{Key: key, Pool: redistest.Pool(t, dial), Owner: "present"}
			test(t, dial, newEarlierLock(t, dial, key, "earlier"), present)
		}
	})
}

// mustAcquire acquires e for d.
func mustAcquire(t *testing.T, e *earlierLock, d time.Duration) {
	t.Helper()
	if acquired, left, err := e.acquire(t.Context(), d); !acquired || err != nil {
		t.Fatalf("the earlier version's acquisition: %v, %v, %v, want it to succeed", acquired, left, err)
	}
}

// mustRelease releases e.
func mustRelease(t *testing.T, e *earlierLock) {
	t.Helper()
	if released, err := e.release(t.Context()); !released || err != nil {
		t.Fatalf("the earlier version's release: %v, %v, want it to succeed", released, err)
	}
}

// holds fails t unless owner holds the lock with fence, as either version sees it.
func holds(t *testing.T, e *earlierLock, l *setlock.Lock, owner string, fence int64) {
	t.Helper()
	if h, err := l.Holder(t.Context()); h.Owner != owner || h.Fence != fence || h.Remaining <= 0 || err != nil {
		t.Errorf("Holder = %+v, %v, want %s with %d", h, err, owner, fence)
	}
	if got, gotFence, err := e.holder(t.Context()); got != owner || gotFence != fence || err != nil {
		t.Errorf("the earlier version sees %s with %d, %v, want %s with %d", got, gotFence, err, owner, fence)
	}
}

func TestVersionsExcludeEachOther(t *testing.T) {
	onVersions(t, func(t *testing.T, _ redistest.Dialer, earlier *earlierLock, present *setlock.Lock) {
		mustAcquire(t, earlier, time.Hour)
		left, err := present.Lock(t.Context(), time.Minute)
		if err != setlock.ErrNotHeld || left <= 59*time.Minute || left > time.Hour {
			t.Errorf("Lock = %v, %v while the earlier version holds the lock, want an hour, ErrNotHeld", left, err)
		}
		if err := present.Do(t.Context(), locktest.NotCalled(t)); err != setlock.ErrNotHeld {
			t.Errorf("Do = %v while the earlier version holds the lock, want ErrNotHeld", err)
		}
		holds(t, earlier, present, "earlier", earlier.fence)
		mustRelease(t, earlier)

		locktest.MustLock(t, present, time.Hour)
		acquired, left, err := earlier.acquire(t.Context(), time.Minute)
		if acquired || err != nil || left <= 59*time.Minute || left > time.Hour {
			t.Errorf("the earlier version's acquisition: %v, %v, %v while a Lock holds, want an hour", acquired, left, err)
		}
		holds(t, earlier, present, "present", present.Fence())
		locktest.MustUnlock(t, present)
	})
}

// What is left of a hold that has ended does not touch the hold of the other version.
func TestVersionsRespectEachOthersHolds(t *testing.T) {
	onVersions(t, func(t *testing.T, dial redistest.Dialer, earlier *earlierLock, present *setlock.Lock) {
		locktest.MustLock(t, present, time.Minute)
		redistest.Do(t, dial, "DEL", present.Key)
		mustAcquire(t, earlier, time.Hour)
		if err := present.Renew(t.Context(), 2*time.Hour); err != setlock.ErrNotHeld {
			t.Errorf("Renew = %v while the earlier version holds the lock, want ErrNotHeld", err)
		}
		if err := present.Unlock(t.Context()); err != setlock.ErrNotHeld {
			t.Errorf("Unlock = %v while the earlier version holds the lock, want ErrNotHeld", err)
		}
		holds(t, earlier, present, "earlier", earlier.fence)
		ttl, err := redis.Int64(redistest.Do(t, dial, "PTTL", present.Key), nil)
		locktest.Between(t, "the earlier version's hold", time.Duration(ttl)*time.Millisecond, 59*time.Minute, time.Hour)
		if err != nil {
			t.Error(err)
		}

		redistest.Do(t, dial, "DEL", present.Key)
		locktest.MustLock(t, present, time.Hour)
		if mine, err := earlier.renew(t.Context(), 2*time.Hour); mine || err != nil {
			t.Errorf("the earlier version's renewal: %v, %v while a Lock holds, want false", mine, err)
		}
		if left, err := earlier.extend(t.Context(), time.Hour); left != 0 || err != nil {
			t.Errorf("the earlier version's extension: %v, %v while a Lock holds, want 0", left, err)
		}
		if released, err := earlier.release(t.Context()); released || err != nil {
			t.Errorf("the earlier version's release: %v, %v while a Lock holds, want false", released, err)
		}
		holds(t, earlier, present, "present", present.Fence())
		locktest.MustUnlock(t, present)
	})
}

// farFence is a fence that the clock of no server reaches. The fences after it prove that each
// version continues from the fence key.
const farFence = 8_000_000_000_000_000

func TestVersionsShareTheFence(t *testing.T) {
	onVersions(t, func(t *testing.T, dial redistest.Dialer, earlier *earlierLock, present *setlock.Lock) {
		mustAcquire(t, earlier, time.Minute)
		last := earlier.fence
		mustRelease(t, earlier)
		for i := range 8 {
			if i == 4 {
				last = farFence
				redistest.Do(t, dial, "SET", earlier.fences, last)
			}
			locktest.MustLock(t, present, time.Minute)
			first := present.Fence()
			locktest.MustRenew(t, present, time.Hour)
			locktest.MustExtend(t, present, time.Hour)
			locktest.MustUnlock(t, present)
			mustAcquire(t, earlier, time.Minute)
			second := earlier.fence
			if mine, err := earlier.renew(t.Context(), time.Hour); !mine || err != nil {
				t.Errorf("the earlier version's renewal: %v, %v, want true", mine, err)
			}
			if left, err := earlier.extend(t.Context(), time.Hour); left < time.Hour || err != nil {
				t.Errorf("the earlier version's extension: %v, %v, want two hours", left, err)
			}
			mustRelease(t, earlier)
			if last >= first || first >= second || last >= farFence && second != last+2 {
				t.Errorf("the fences are %d, %d, %d, want them to increase, by one above %d", last, first, second, int64(farFence))
			}
			last = second
		}
	})
}

// A hold of either version that lasts longer than any fence key does by itself keeps the fence key for
// the next version.
func TestLongHoldKeepsTheFenceForTheOtherVersion(t *testing.T) {
	const lease, long = time.Minute, 3 * time.Hour
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		for _, key := range compatibleKeys {
			present := &setlock.Lock{Key: key, Pool: redistest.Pool(t, w.Server.Dial), Lease: lease}
			earlier := newEarlierLock(t, w.Server.Dial, key, "earlier")
			redistest.Do(t, w.Server.Dial, "SET", earlier.fences, farFence)
			for want := int64(farFence + 1); want < farFence+5; want += 2 {
				locktest.MustDo(t, present, func(ctx context.Context) error {
					if fence, _ := setlock.FenceFromContext(ctx); fence != want {
						t.Errorf("the fence is %d, want %d", fence, want)
					}
					time.Sleep(long)
					return ctx.Err()
				})
				time.Sleep(time.Hour - time.Second) // the fence key lives for an hour without a hold
				mustAcquire(t, earlier, lease)
				if earlier.fence != want+1 {
					t.Errorf("the earlier version's fence is %d, want %d", earlier.fence, want+1)
				}
				for range long / (lease / 3) {
					time.Sleep(lease / 3)
					if mine, err := earlier.renew(t.Context(), lease); !mine || err != nil {
						t.Fatalf("the earlier version's renewal: %v, %v, want true", mine, err)
					}
				}
				mustRelease(t, earlier)
				time.Sleep(time.Hour - time.Second)
			}
		}
	})
}

// hears returns what e hears from now on.
func hears(t *testing.T, e *earlierLock) <-chan earlierHeard {
	heard, subscribed := make(chan earlierHeard, 16), make(chan struct{}, 16)
	t.Cleanup(e.listen(time.Second, func() { subscribed <- struct{}{} }, func(a earlierHeard) { heard <- a }))
	locktest.Receive(t, subscribed, 5*time.Second)
	return heard
}

// A release by one version reaches the other version at once. It is pushed: with a Lease this long,
// nobody asks Redis before the test has failed.
func TestReleaseWakesTheOtherVersion(t *testing.T) {
	onVersions(t, func(t *testing.T, _ redistest.Dialer, earlier *earlierLock, present *setlock.Lock) {
		soon := 5 * time.Second
		present.Lease = time.Hour
		mustAcquire(t, earlier, time.Hour)
		watch := locktest.Watch(t, present)
		locktest.SeesHolder(t, watch, "earlier", earlier.fence, soon)
		mustRelease(t, earlier)
		locktest.SeesNobody(t, watch, soon)

		heard := hears(t, earlier)
		locktest.MustDo(t, present, func(ctx context.Context) error {
			fence, _ := setlock.FenceFromContext(ctx)
			a := locktest.Receive(t, heard, soon)
			if !a.acquired || a.fence != fence || a.previous == "" || a.previous == "0" || a.lease != time.Hour {
				t.Errorf("the earlier version hears %+v, want an acquisition for an hour with %d", a, fence)
			}
			locktest.SeesHolder(t, watch, "present", fence, soon)
			return nil
		})
		if a := locktest.Receive(t, heard, soon); a.acquired {
			t.Errorf("the earlier version hears %+v, want a release", a)
		}
		locktest.SeesNobody(t, watch, soon)
		mustAcquire(t, earlier, time.Minute)
		locktest.SeesHolder(t, watch, "earlier", earlier.fence, soon)
		mustRelease(t, earlier)
	})
}

// An acquisition that replicas must confirm is announced by the client, not by the script. The earlier
// version understands the announcement, too.
func TestConfirmedAcquisitionIsAnnouncedToTheEarlierVersion(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		w.Server.Confirm(func() int { return 1 })
		present, earlier := w.Direct(lease), newEarlierLock(t, w.Server.Dial, "k", "earlier")
		present.Replicas = 1
		mustAcquire(t, earlier, lease)
		previous := earlier.fence
		mustRelease(t, earlier)
		heard := hears(t, earlier)
		locktest.MustLock(t, present, lease)
		a := locktest.Receive(t, heard, 0)
		if !a.acquired || a.fence != present.Fence() || a.previous != strconv.FormatInt(previous, 10) || a.lease != lease {
			t.Errorf("the earlier version hears %+v, want an acquisition for %v with %d after %d", a, lease, present.Fence(), previous)
		}
		locktest.MustUnlock(t, present)
		if b := locktest.Receive(t, heard, 0); b.acquired || b.value != a.value {
			t.Errorf("the earlier version hears %+v, want a release of %q", b, a.value)
		}
	})
}
