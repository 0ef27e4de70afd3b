package setlock_test

import (
	"strings"
	"testing"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestHolder(t *testing.T) {
	locktest.OnBoth(t, func(t *testing.T, dial redistest.Dialer) {
		a, b := locktest.Pair(t, dial)
		if h, err := b.Holder(t.Context()); h != (setlock.Holder{}) || err != nil || !h.Nobody() {
			t.Errorf("Holder of a free lock = %+v, %v, want nobody", h, err)
		}
		locktest.MustLock(t, a, time.Minute)
		redistest.Do(t, dial, "PERSIST", "k")
		if h, err := b.Holder(t.Context()); h.Remaining >= 0 || h.Owner != "a" || err != nil {
			t.Errorf("Holder of a key without expiry = %+v, %v", h, err)
		}
		for _, value := range []string{"", "foreign", "a:b", ":", strings.Repeat("A", 26), "\x00\xff", strings.Repeat("a", 26) + ":x"} {
			redistest.Do(t, dial, "SET", "k", value)
			h, err := b.Holder(t.Context())
			if err != nil || h.Owner != value || h.Fence != 0 || h.Nobody() {
				t.Errorf("Holder of a foreign %q = %+v, %v, want that as Owner and no fence", value, h, err)
			}
			if _, err := b.Lock(t.Context(), time.Minute); err != setlock.ErrNotHeld {
				t.Errorf("Lock of a foreign %q = %v, want ErrNotHeld", value, err)
			}
		}
	})
}
