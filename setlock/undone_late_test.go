package setlock_test

import (
	"testing"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// undoneLate has an acquisition of l, for d, be undone after its caller has left.
func undoneLate(t *testing.T, w *locktest.World, l *setlock.Lock, d time.Duration) {
	t.Helper()
	w.Network.Set(redistest.Faults{Delay: 50 * time.Millisecond})
	locktest.TimesOut(t, 80*time.Millisecond, locktest.Acquires(l, d))
	time.Sleep(time.Second)
	w.Network.Set(redistest.Faults{})
	if w.Server.Exists("k") {
		t.Fatal("the acquisition was not undone")
	}
}

// An acquisition that is known to be undone, however late, is no orphan: it does not push a true one
// out of the memory of its Lock.
func TestLateUndosAreNoOrphans(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.LoadScripts(t, w.Direct(lease))
		l := w.Lock(lease)
		networks := orphans(t, w, l, 1)
		l.Pool.MaxIdle = 4
		for range 64 {
			undoneLate(t, w, l, 2*time.Hour)
		}
		networks[0].Set(redistest.Faults{}) // the first acquisition arrives
		time.Sleep(time.Second)
		if !w.Server.Exists("k") {
			t.Fatal("the first acquisition did not arrive")
		}
		locktest.MustLock(t, l, time.Minute)
	})
}

func TestUnlockAfterALateUndo(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.LoadScripts(t, l)
		undoneLate(t, w, l, time.Minute)
		w.Disconnect()
		if err := l.Unlock(t.Context()); err != setlock.ErrNotHeld {
			t.Errorf("Unlock without Redis = %v, want ErrNotHeld", err)
		}
	})
}
