package setlock_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// What a real server does to a Do. The times are long, for machines that are
// busy; how they add up is tested in virtual time.
func TestFaultsOfARealServer(t *testing.T) {
	t.Parallel()
	const lease = 3 * time.Second
	do := func(t *testing.T, command string, args ...any) func(*redistest.Server) {
		return func(s *redistest.Server) { redistest.Do(t, s.Dial, command, args...) }
	}
	pause := func(d time.Duration) func(*redistest.Server) {
		return func(s *redistest.Server) {
			s.Pause()
			time.Sleep(d)
			s.Continue()
		}
	}
	for name, test := range map[string]struct {
		fault func(*redistest.Server)
		lost  bool
	}{
		"SIGSTOP, shorter than a third of the lease": {pause(lease / 6), false},
		"SIGSTOP, longer than the lease":             {pause(lease + lease/3), true},
		"CLIENT PAUSE, shorter":                      {do(t, "CLIENT", "PAUSE", (lease / 6).Milliseconds()), false},
		"CLIENT PAUSE, longer":                       {do(t, "CLIENT", "PAUSE", (lease + lease/3).Milliseconds()), true},
		"CLIENT KILL, all connections":               {do(t, "CLIENT", "KILL", "TYPE", "normal"), false},
		"CLIENT KILL, announcements":                 {do(t, "CLIENT", "KILL", "TYPE", "pubsub"), false},
		"SCRIPT FLUSH":                               {do(t, "SCRIPT", "FLUSH"), false},
		"kill -9, and back without data":             {(*redistest.Server).Restart, true},
		"kill -9, and away":                          {(*redistest.Server).Kill, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.NewServer(t)
			l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, s.Dial), Lease: lease}
			err := l.Do(t.Context(), func(ctx context.Context) error {
				time.Sleep(lease / 4) // it listens, and has renewed
				start := time.Now()
				go func() { // a pause shall not hold up the watch over ctx
					<-ctx.Done()
					if took := time.Since(start); test.lost && took > lease*3/2 { // half a lease for a busy machine
						t.Errorf("told after %v, want less than the lease", took)
					}
				}()
				test.fault(s)
				select {
				case <-ctx.Done():
				case <-time.After(lease):
				}
				if l.Fence() != 0 && ctx.Err() != nil {
					t.Error("Fence believes, and the context has ended")
				}
				return nil
			})
			if lost := errors.Is(err, setlock.ErrLost); lost != test.lost || !lost && err != nil {
				t.Errorf("Do = %v, want a loss: %v", err, test.lost)
			}
		})
	}
}
