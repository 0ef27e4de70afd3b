package election_test

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// A watch and an election whose readers never read, for hours of changes: their
// memory is bounded.
func TestReadersThatNeverRead(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a := w.candidate("a", nil)
		for range 10 {
			a.Changes()
		}
		start(t, a)
		watcher := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, w.server.Dial), Lease: lease}
		unread := watcher.Watch(t.Context())
		measure := func() uint64 {
			synctest.Wait()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		churn := func(n int) {
			for i := range n {
				w.server.Set("k", fmt.Sprint("foreign", i))
				w.server.Publish("setlock:k", "look")
				time.Sleep(5 * time.Second)
				a.Resign()
			}
		}
		churn(200)
		before := measure()
		churn(2000) // close to three hours
		if after := measure(); after > before+(1<<20) {
			t.Errorf("the heap grew from %d to %d bytes", before, after)
		}
		// And the newest is there.
		if h := <-unread; h.Owner != "foreign1999" && !h.Nobody() && h.Owner != "a" {
			t.Errorf("the watch has %+v, want the newest", h)
		}
	})
}
