package setlock_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// trouble has every way in which Redis can be away.
var trouble = map[string]func(w *locktest.World) (end func()){
	"silent":         fault(redistest.Silent),
	"requests held":  fault(redistest.Faults{HoldRequests: true}),
	"replies held":   fault(redistest.Faults{HoldReplies: true}),
	"replies lost":   fault(redistest.Faults{LoseReplies: true}),
	"slow":           fault(redistest.Faults{Delay: lease}),
	"no new":         fault(redistest.Faults{Refuse: true}),
	"READONLY":       refusal("READONLY You can't write against a read only replica."),
	"LOADING":        refusal("LOADING Redis is loading the dataset in memory"),
	"MISCONF":        refusal("MISCONF Redis is configured to save RDB snapshots"),
	"CLUSTERDOWN":    refusal("CLUSTERDOWN The cluster is down"),
	"wrong password": refusal("WRONGPASS invalid username-password pair"),
	"refused": func(w *locktest.World) func() {
		w.Disconnect()
		return func() { w.Network.Set(redistest.Faults{}) }
	},
	"silent, then reset": func(w *locktest.World) func() {
		w.Network.Set(redistest.Silent)
		return func() {
			w.Network.Reset()
			w.Network.Set(redistest.Faults{})
		}
	},
}

func fault(f redistest.Faults) func(*locktest.World) func() {
	return func(w *locktest.World) func() {
		w.Network.Set(f)
		return func() { w.Network.Set(redistest.Faults{}) }
	}
}

func refusal(answer string) func(*locktest.World) func() {
	return func(w *locktest.World) func() {
		w.Server.SetError(answer)
		return func() { w.Server.SetError("") }
	}
}

func TestShortOutageCostsNothing(t *testing.T) {
	for name, begin := range trouble {
		t.Run(name, func(t *testing.T) {
			for part := range 12 { // the moments of a renewal period
				locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
					err := w.Lock(lease).Do(t.Context(), func(ctx context.Context) error {
						time.Sleep(lease + time.Duration(part)*lease/36)
						end := begin(w)
						time.Sleep(lease/3 - time.Millisecond)
						end()
						time.Sleep(3 * lease)
						return context.Cause(ctx)
					})
					if err != nil {
						t.Errorf("part %d: Do = %v", part, err)
					}
				})
			}
		})
	}
}

func TestTrustEndsBeforeTheKeyCanExpire(t *testing.T) {
	for name, begin := range trouble {
		if name == "no new" {
			continue // connections that are open remain
		}
		t.Run(name, func(t *testing.T) {
			for part := range 12 {
				locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
					l := w.Lock(lease)
					var left time.Duration
					var end func()
					err := l.Do(t.Context(), func(ctx context.Context) error {
						time.Sleep(lease + time.Duration(part)*lease/36)
						start := time.Now()
						end = begin(w)
						lost := locktest.UntilLost(t, ctx)
						left = w.Server.TTL("k")
						locktest.Between(t, "lost after", lost.Sub(start), lease/2, lease)
						if l.Fence() != 0 {
							t.Error("Fence is not 0 after the loss")
						}
						return nil
					})
					if !errors.Is(err, setlock.ErrLost) {
						t.Errorf("part %d: Do = %v, want ErrLost", part, err)
					}
					// A tenth is left of the last renewal that counted. More is left if a later renewal
					// reached the server and its reply did not come.
					if left < lease/10 {
						t.Errorf("part %d: %v of the key was left at the loss, want at least %v", part, left, lease/10)
					}
					end()
				})
			}
		})
	}
}

func TestOneFaultWhenNobodyCanDial(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		var glitch atomic.Bool
		w.Server.Refuse("BUSY a passing fault", func() bool { return glitch.CompareAndSwap(true, false) }, locktest.Scripts...)
		locktest.MustDo(t, l, func(ctx context.Context) error {
			time.Sleep(2 * lease)
			w.Network.Set(redistest.Faults{Refuse: true}) // as at maxclients
			glitch.Store(true)
			time.Sleep(5 * lease)
			return context.Cause(ctx)
		})
	})
}

// What a real server does to a Do. The times are long, because machines are busy. Exact times are
// tested in virtual time.
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
