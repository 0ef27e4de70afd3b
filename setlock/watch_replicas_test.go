package setlock_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// How long a watch with Replicas waits for the announcement of a holder that it has found.
const confirmFor = lease / 6

// replicaWatch returns a watch that wants replicas to confirm what it reports.
func replicaWatch(t *testing.T, w *world) <-chan setlock.Holder {
	l := w.direct(lease)
	l.Replicas = 1
	return watch(t, l)
}

// acquire stores what an acquisition stores, and announces nothing.
func (w *world) acquire(owner string, fence int) {
	w.server.Set("{k}:fence", fmt.Sprint(fence))
	w.server.Set("k", value(owner))
	w.server.SetTTL("k", 10*lease)
}

func (w *world) announce(owner string, fence, previous int) {
	before := ""
	if previous > 0 {
		before = fmt.Sprint(previous)
	}
	w.server.Publish("setlock:k", fmt.Sprintf("acquired %d %d %s %s", fence, lease.Milliseconds(), before, value(owner)))
}

// look makes the watches look.
func (w *world) look() { w.server.Publish("setlock:k", "look") }

func value(owner string) string { return "ABCDEFGHIJKLMNOPQRSTUVWXYZ:" + owner }

// heldBy fails t unless c tells of owner within d.
func heldBy(t *testing.T, c <-chan setlock.Holder, owner string, fence int64, d time.Duration) {
	t.Helper()
	if h := receive(t, c, d); h.Owner != owner || h.Fence != fence {
		t.Errorf("saw %+v, want %s, fence %d", h, owner, fence)
	}
}

// nobody fails t unless c tells of nobody within d.
func nobody(t *testing.T, c <-chan setlock.Holder, d time.Duration) {
	t.Helper()
	if h := receive(t, c, d); !h.Nobody() {
		t.Errorf("saw %+v, want nobody", h)
	}
}

func TestWatchWaitsForReplicas(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, w *world, c <-chan setlock.Holder){
		"announced": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			w.acquire("a", 2)
			w.look()
			quiet(t, c, confirmFor/2)
			w.announce("a", 2, 1)
			heldBy(t, c, "a", 2, 0)
			quiet(t, c, 3*lease)
			w.server.Del("k")
			w.server.Publish("setlock:k", "released "+value("a"))
			nobody(t, c, 0)
		},
		"never looked at": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			w.acquire("a", 2)
			w.announce("a", 2, 1)
			heldBy(t, c, "a", 2, 0)
		},
		"not announced, and still there": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			w.acquire("a", 2)
			w.look()
			quiet(t, c, confirmFor/2)
			w.look() // another look is not proof
			quiet(t, c, confirmFor/2-time.Millisecond)
			heldBy(t, c, "a", 2, 2*time.Millisecond)
			quiet(t, c, 3*lease)
		},
		"undone": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			for fence := 2; fence < 10; fence++ {
				w.acquire("a", fence)
				w.look()
				quiet(t, c, confirmFor/2)
				w.server.Del("k")
				quiet(t, c, confirmFor)
			}
			quiet(t, c, 3*lease)
			w.acquire("b", 10) // what is announced continues what the looks have found
			w.announce("b", 10, 9)
			heldBy(t, c, "b", 10, 0)
		},
		"undone, and another at once": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			w.acquire("a", 2)
			w.look()
			quiet(t, c, confirmFor/2)
			w.acquire("b", 3)
			w.announce("b", 3, 2)
			heldBy(t, c, "b", 3, 0)
		},
		"undone, and another waits": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			w.acquire("a", 2)
			w.look()
			quiet(t, c, confirmFor/2)
			w.acquire("b", 3)
			w.look()
			quiet(t, c, confirmFor-time.Millisecond)
			heldBy(t, c, "b", 3, 2*time.Millisecond)
		},
		"released before it was seen": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			w.server.Set("{k}:fence", "2")
			w.server.Publish("setlock:k", "released "+value("a"))
			nobody(t, c, 0)
			w.acquire("a", 3)
			w.look()
			quiet(t, c, confirmFor/2)
			w.server.Del("k")
			w.server.Publish("setlock:k", "released "+value("a"))
			nobody(t, c, 0)
		},
		"after another": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			w.acquire("a", 2)
			w.announce("a", 2, 1)
			heldBy(t, c, "a", 2, 0)
			w.acquire("b", 3)
			w.look()
			quiet(t, c, confirmFor/2) // a stands until b is confirmed
			w.server.Del("k")
			nobody(t, c, confirmFor/2+time.Millisecond)
			quiet(t, c, 3*lease)
		},
		"after a release that comes late": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			w.acquire("a", 2)
			w.announce("a", 2, 1)
			heldBy(t, c, "a", 2, 0)
			w.acquire("b", 3)
			w.look()
			quiet(t, c, confirmFor/2)
			w.server.Publish("setlock:k", "released "+value("a"))
			nobody(t, c, 0)
			w.announce("b", 3, 2)
			heldBy(t, c, "b", 3, 0)
		},
		"a foreign program": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			w.server.Set("k", "foreign")
			w.look()
			heldBy(t, c, "foreign", 0, 0)
		},
		"an announcement of another": func(t *testing.T, w *world, c <-chan setlock.Holder) {
			w.acquire("a", 3)
			w.look()
			quiet(t, c, confirmFor/4)
			w.announce("b", 2, 1) // it has come and gone before a did
			quiet(t, c, confirmFor/4)
			w.announce("a", 3, 2)
			heldBy(t, c, "a", 3, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.server.Set("{k}:fence", "1")
				c := replicaWatch(t, w)
				nobody(t, c, 0)
				synctest.Wait()
				test(t, w, c)
			})
		})
	}
}

// The first holder that a watch finds may be waiting for its replicas, too.
func TestWatchWaitsForReplicasAtFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.acquire("a", 2)
		c := replicaWatch(t, w)
		quiet(t, c, confirmFor-time.Millisecond)
		heldBy(t, c, "a", 2, 2*time.Millisecond)
	})
	inBubble(t, func(t *testing.T, w *world) {
		w.acquire("a", 2)
		c := replicaWatch(t, w)
		quiet(t, c, confirmFor/2)
		w.server.Del("k")
		nobody(t, c, confirmFor/2+time.Millisecond)
	})
	inBubble(t, func(t *testing.T, w *world) {
		w.acquire("a", 2)
		c := replicaWatch(t, w)
		quiet(t, c, confirmFor/2)
		w.announce("a", 2, 1)
		heldBy(t, c, "a", 2, 0)
	})
}

// Without Replicas, whoever is found is reported at once.
func TestWatchWithoutReplicasWaitsForNone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.acquire("a", 2)
		c := watch(t, w.direct(lease))
		heldBy(t, c, "a", 2, 0)
		synctest.Wait()
		w.acquire("b", 3)
		w.look()
		heldBy(t, c, "b", 3, 0)
	})
}

// An acquisition that was undone without a word is no reason to mistrust the connection;
// one that stands is.
func TestWatchWithReplicasTrustsItsConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		subscribed := w.count("SUBSCRIBE")
		w.server.Set("{k}:fence", "1")
		c := replicaWatch(t, w)
		nobody(t, c, 0)
		synctest.Wait()
		for fence := 2; fence < 20; fence++ {
			time.Sleep(lease - confirmFor/4)
			w.acquire("a", fence)
			quiet(t, c, confirmFor/2)
			w.server.Del("k")
			quiet(t, c, confirmFor)
		}
		if got := subscribed.Load(); got != 1 {
			t.Errorf("subscribed %d times, want once", got)
		}
		w.acquire("a", 20)
		heldBy(t, c, "a", 20, lease+confirmFor+time.Second)
		quiet(t, c, lease)
		if got := subscribed.Load(); got != 2 {
			t.Errorf("subscribed %d times, want twice", got)
		}
	})
}

// A connection that is dead is found by the look that finds a holder, confirmed or not.
func TestWatchWithReplicasOnASilentConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		subscribed := w.count("SUBSCRIBE")
		w.server.Set("{k}:fence", "1")
		dial, around := w.detour()
		c := watch(t, &setlock.Lock{Key: "k", Pool: splitPool(t, w.server.Dial, dial), Lease: lease, Replicas: 1})
		nobody(t, c, 0)
		synctest.Wait()
		w.network.Set(redistest.Silent)
		around.Store(true)
		w.acquire("a", 2)
		quiet(t, c, lease)
		time.Sleep(5*time.Second + confirmFor/2)
		if got := subscribed.Load(); got != 2 {
			t.Errorf("subscribed %d times, want twice", got)
		}
		heldBy(t, c, "a", 2, 0)
	})
}
