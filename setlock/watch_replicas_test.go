package setlock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// How long a watch with Replicas waits for the announcement of a holder that it has found.
const confirmFor = lease / 6

// replicaWatch returns a watch that wants replicas to confirm what it reports.
func replicaWatch(t *testing.T, w *locktest.World) <-chan setlock.Holder {
	l := w.Direct(lease)
	l.Replicas = 1
	return locktest.Watch(t, l)
}

// acquire stores what an acquisition stores, and announces nothing.
func acquire(w *locktest.World, owner string, fence int64) {
	w.Server.Store("k", owner, fence)
	w.Server.SetTTL("k", 10*lease)
}

// announce publishes that owner has acquired the lock.
func announce(w *locktest.World, owner string, fence, previous int64) {
	w.Server.Publish("setlock:k", locktest.Acquired(owner, fence, previous))
}

// look makes the watches look.
func look(w *locktest.World) { w.Server.Publish("setlock:k", "look") }

func TestWatchWaitsForReplicas(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, w *locktest.World, c <-chan setlock.Holder){
		"announced": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			acquire(w, "a", 2)
			look(w)
			locktest.Quiet(t, c, confirmFor/2)
			announce(w, "a", 2, 1)
			locktest.SeesHolder(t, c, "a", 2, 0)
			locktest.Quiet(t, c, 3*lease)
			w.Server.Del("k")
			w.Server.Publish("setlock:k", locktest.Released("a"))
			locktest.SeesNobody(t, c, 0)
		},
		"announced, behind fences that nobody was told of": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			acquire(w, "a", 7)
			announce(w, "a", 7, 6)
			locktest.SeesHolder(t, c, "a", 7, 0)
		},
		"never looked at": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			acquire(w, "a", 2)
			announce(w, "a", 2, 1)
			locktest.SeesHolder(t, c, "a", 2, 0)
		},
		"not announced, and still there": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			acquire(w, "a", 2)
			look(w)
			locktest.Quiet(t, c, confirmFor/2)
			look(w) // another look is not proof
			locktest.Quiet(t, c, confirmFor/2-time.Millisecond)
			locktest.SeesHolder(t, c, "a", 2, 2*time.Millisecond)
			locktest.Quiet(t, c, 3*lease)
		},
		"undone": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			for fence := int64(2); fence < 10; fence++ {
				acquire(w, "a", fence)
				look(w)
				locktest.Quiet(t, c, confirmFor/2)
				w.Server.Del("k")
				locktest.Quiet(t, c, confirmFor)
			}
			locktest.Quiet(t, c, 3*lease)
			acquire(w, "b", 10) // what is announced continues what the looks have found
			announce(w, "b", 10, 9)
			locktest.SeesHolder(t, c, "b", 10, 0)
		},
		"undone, and another at once": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			acquire(w, "a", 2)
			look(w)
			locktest.Quiet(t, c, confirmFor/2)
			acquire(w, "b", 3)
			announce(w, "b", 3, 2)
			locktest.SeesHolder(t, c, "b", 3, 0)
		},
		"undone, and another waits": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			acquire(w, "a", 2)
			look(w)
			locktest.Quiet(t, c, confirmFor/2)
			acquire(w, "b", 3)
			look(w)
			locktest.Quiet(t, c, confirmFor-time.Millisecond)
			locktest.SeesHolder(t, c, "b", 3, 2*time.Millisecond)
		},
		"released before it was seen": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			w.Server.Set("{k}:fence", "2")
			w.Server.Publish("setlock:k", locktest.Released("a"))
			locktest.SeesNobody(t, c, 0)
			acquire(w, "a", 3)
			look(w)
			locktest.Quiet(t, c, confirmFor/2)
			w.Server.Del("k")
			w.Server.Publish("setlock:k", locktest.Released("a"))
			locktest.SeesNobody(t, c, 0)
		},
		"after another": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			acquire(w, "a", 2)
			announce(w, "a", 2, 1)
			locktest.SeesHolder(t, c, "a", 2, 0)
			acquire(w, "b", 3)
			look(w)
			locktest.Quiet(t, c, confirmFor/2) // the watch keeps to a until b is confirmed
			w.Server.Del("k")
			locktest.SeesNobody(t, c, confirmFor/2+time.Millisecond)
			locktest.Quiet(t, c, 3*lease)
		},
		"after a release that comes late": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			acquire(w, "a", 2)
			announce(w, "a", 2, 1)
			locktest.SeesHolder(t, c, "a", 2, 0)
			acquire(w, "b", 3)
			look(w)
			locktest.Quiet(t, c, confirmFor/2)
			w.Server.Publish("setlock:k", locktest.Released("a"))
			locktest.SeesNobody(t, c, 0)
			announce(w, "b", 3, 2)
			locktest.SeesHolder(t, c, "b", 3, 0)
		},
		"a foreign program": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			w.Server.Set("k", "foreign")
			look(w)
			locktest.SeesHolder(t, c, "foreign", 0, 0)
		},
		"an announcement of another": func(t *testing.T, w *locktest.World, c <-chan setlock.Holder) {
			acquire(w, "a", 3)
			look(w)
			locktest.Quiet(t, c, confirmFor/4)
			announce(w, "b", 2, 1) // it has come and gone before a did
			locktest.Quiet(t, c, confirmFor/4)
			announce(w, "a", 3, 2)
			locktest.SeesHolder(t, c, "a", 3, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				w.Server.Set("{k}:fence", "1")
				c := replicaWatch(t, w)
				locktest.SeesNobody(t, c, 0)
				synctest.Wait()
				test(t, w, c)
			})
		})
	}
}

// The first holder that a watch finds may be waiting for its replicas.
func TestWatchWaitsForReplicasAtFirst(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		acquire(w, "a", 2)
		c := replicaWatch(t, w)
		locktest.Quiet(t, c, confirmFor-time.Millisecond)
		locktest.SeesHolder(t, c, "a", 2, 2*time.Millisecond)
	})
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		acquire(w, "a", 2)
		c := replicaWatch(t, w)
		locktest.Quiet(t, c, confirmFor/2)
		w.Server.Del("k")
		locktest.SeesNobody(t, c, confirmFor/2+time.Millisecond)
	})
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		acquire(w, "a", 2)
		c := replicaWatch(t, w)
		locktest.Quiet(t, c, confirmFor/2)
		announce(w, "a", 2, 1)
		locktest.SeesHolder(t, c, "a", 2, 0)
	})
}

// Without Replicas, a holder that a look finds is reported at once.
func TestWatchWithoutReplicasWaitsForNone(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		acquire(w, "a", 2)
		c := locktest.Watch(t, w.Direct(lease))
		locktest.SeesHolder(t, c, "a", 2, 0)
		synctest.Wait()
		acquire(w, "b", 3)
		look(w)
		locktest.SeesHolder(t, c, "b", 3, 0)
	})
}

// An acquisition that was undone unannounced is no reason to mistrust the connection. An
// acquisition that remains unannounced is a reason.
func TestWatchWithReplicasTrustsItsConnection(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		subscribed := w.Server.Count("SUBSCRIBE")
		w.Server.Set("{k}:fence", "1")
		c := replicaWatch(t, w)
		locktest.SeesNobody(t, c, 0)
		synctest.Wait()
		for fence := int64(2); fence < 20; fence++ {
			time.Sleep(lease - confirmFor/4)
			acquire(w, "a", fence)
			locktest.Quiet(t, c, confirmFor/2)
			w.Server.Del("k")
			locktest.Quiet(t, c, confirmFor)
		}
		if got := subscribed(); got != 1 {
			t.Errorf("subscribed %d times, want once", got)
		}
		acquire(w, "a", 20)
		locktest.SeesHolder(t, c, "a", 20, lease+confirmFor+time.Second)
		locktest.Quiet(t, c, lease)
		if got := subscribed(); got != 2 {
			t.Errorf("subscribed %d times, want twice", got)
		}
	})
}

// A look that finds a holder has the connection checked, whether the holder is confirmed or not.
func TestWatchWithReplicasOnASilentConnection(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		subscribed := w.Server.Count("SUBSCRIBE")
		w.Server.Set("{k}:fence", "1")
		dial, around := detour(w)
		c := locktest.Watch(t, &setlock.Lock{Key: "k", Pool: splitPool(t, w.Server.Dial, dial), Lease: lease, Replicas: 1})
		locktest.SeesNobody(t, c, 0)
		synctest.Wait()
		w.Network.Set(redistest.Silent)
		around.Store(true)
		acquire(w, "a", 2)
		locktest.Quiet(t, c, lease)
		time.Sleep(5*time.Second + confirmFor/2)
		if got := subscribed(); got != 2 {
			t.Errorf("subscribed %d times, want twice", got)
		}
		locktest.SeesHolder(t, c, "a", 2, 0)
	})
}
