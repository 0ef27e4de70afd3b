package election_test

import (
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/internal/redistest"
)

// A BackOff that is used by one Run after the other begins anew with each.
func TestBackOffIsResetByRun(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.network.Set(redistest.Faults{Refuse: true})
		for name, same := range map[string]backoff.BackOff{
			"retries": backoff.WithMaxRetries(backoff.NewConstantBackOff(time.Second), 3),
			"time":    backoff.NewExponentialBackOff(backoff.WithMaxElapsedTime(time.Minute)),
		} {
			a := w.candidate("a", nil)
			a.BackOff = func() backoff.BackOff { return same }
			for i := range 3 {
				time.Sleep(2 * time.Minute)
				begin := time.Now()
				if err := a.Run(t.Context()); err == nil {
					t.Errorf("%s: Run %d = nil, want the last error", name, i)
				}
				if took := time.Since(begin); took < 3*time.Second {
					t.Errorf("%s: Run %d gave up after %v", name, i, took)
				}
			}
		}
	})
}
