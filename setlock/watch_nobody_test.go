package setlock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A foreign program may hold the lock with an empty value.
func TestWatchOfAnEmptyValue(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Lease: time.Second}
		c := locktest.Watch(t, l)
		soon := 5 * time.Second
		locktest.SeesNobody(t, c, soon)
		redistest.Do(t, dial, "SET", "k", "", "PX", 60_000)
		for range 2 {
			h := locktest.Receive(t, c, soon)
			if h.Nobody() || h.Owner != "" || h.Fence != 0 || h.Remaining <= 0 {
				t.Errorf("saw %+v, want a Holder without Owner and Fence", h)
			}
			// No acquisition stores an empty value, so this announces no release.
			redistest.Do(t, dial, "PUBLISH", "setlock:k", "released ")
			locktest.Quiet(t, c, 10*time.Millisecond)
			redistest.Do(t, dial, "DEL", "k")
			locktest.SeesNobody(t, c, soon)
			redistest.Do(t, dial, "SET", "k", "")
			if h := locktest.Receive(t, c, soon); h.Nobody() || h.Remaining >= 0 {
				t.Errorf("saw %+v, want a Holder without expiry", h)
			}
			redistest.Do(t, dial, "SET", "k", "", "PX", 60_000)
			redistest.Do(t, dial, "DEL", "k")
			locktest.SeesNobody(t, c, soon)
			redistest.Do(t, dial, "SET", "k", "", "PX", 60_000)
		}
	})
}

// The zero Holder comes again when the lock was held and released between two looks.
func TestWatchTellsOfNobodyAgain(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Direct(lease), w.Direct(lease)
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 0)
		synctest.Wait()
		// A watch that is slow gets only the last of the two announcements.
		w.Server.Set("{k}:fence", "1")
		w.Server.Publish("setlock:k", locktest.Released("somebody"))
		locktest.SeesNobody(t, c, 0)
		// Announcements of what is known, and of nothing.
		for _, message := range []string{locktest.Released("somebody"), locktest.Acquired("somebody", 1, 0), "nonsense"} {
			w.Server.Publish("setlock:k", message)
			locktest.Quiet(t, c, lease/10)
		}
		// A fence key that has expired, and a foreign holder that has come and gone.
		w.Server.Del("{k}:fence")
		w.Server.Publish("setlock:k", "nonsense")
		w.Server.Set("k", "foreign")
		w.Server.Del("k")
		locktest.Quiet(t, c, 2*lease)
		// A hold that the watch sees.
		locktest.MustLock(t, a, lease)
		locktest.SeesHold(t, c, a, 0)
		locktest.MustUnlock(t, a)
		locktest.SeesNobody(t, c, 0)
		locktest.Quiet(t, c, 10*lease)
	})
}

// The zero Holder comes again also where nothing is announced.
func TestWatchWithoutPushTellsOfNobodyAgain(t *testing.T) {
	for _, forbidden := range []string{"SUBSCRIBE", "PUBLISH"} {
		t.Run(forbidden, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				w.Server.Forbid(forbidden)
				a, b := w.Direct(lease), w.Direct(lease)
				c := locktest.Watch(t, b)
				locktest.Receive(t, c, 0)
				synctest.Wait()
				for range 3 {
					locktest.MustLock(t, a, lease)
					locktest.MustUnlock(t, a)
					locktest.SeesNobody(t, c, lease+time.Millisecond)
					locktest.Quiet(t, c, 2*lease)
				}
			})
		})
	}
}

// An acquisition whose caller has left is undone. A watch reports nobody again.
func TestWatchTellsOfAnUndoneAcquisition(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		a, b := w.Lock(lease), w.Direct(lease)
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 0)
		locktest.MustLock(t, a, lease) // a connection, and the script is known
		locktest.Receive(t, c, 0)
		locktest.MustUnlock(t, a)
		locktest.Receive(t, c, 0)
		w.Network.Set(redistest.Faults{HoldReplies: true})
		locktest.TimesOut(t, time.Second, locktest.Acquires(a, lease))
		// The watch may see both announcements, or only the last.
		for seen := 0; ; seen++ {
			if h := locktest.Receive(t, c, lease); h.Nobody() {
				break
			} else if seen > 0 {
				t.Errorf("saw %+v, want nobody", h)
			}
		}
	})
}
