package setlock_test

import (
	"testing"
	"time"

	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
)

// Thousands of sessions on a Redis that takes a tenth of the Lease to answer. The batches under way do
// not push each other out.
func TestSlowRedisLosesNoneOfThousands(t *testing.T) {
	n := 8000
	if leaktest.RaceDetector() {
		n = 1000
	}
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.LoadScripts(t, w.Direct(lease))
		w.Server.Quick()
		w.Server.Forbid("SUBSCRIBE")
		c := locktest.NewCrowd(t, locktest.Locks(w.Lock(lease).Pool, "k", n, lease)...)
		time.Sleep(2 * lease)
		w.Network.Set(redistest.Faults{Delay: lease / 20})
		time.Sleep(3 * lease)
		c.MustLose("on a slow Redis")
		w.Network.Set(redistest.Faults{})
	})
}
