package setlock_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/trace"
)

// Two sessions renew in one batch, and Redis has not run it yet, when one of them ends. Its release
// waits for nothing. When the batch runs, the renewal that comes after the release brings no key
// back and is no loss, and the other one counts.
func TestReleaseWhileABatchIsInFlight(t *testing.T) {
	for _, alone := range []bool{false, true} { // the other session ends before the batch runs, too
		locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
			locktest.LoadScripts(t, w.Direct(lease))
			w.Server.Forbid("SUBSCRIBE")
			run := make(chan struct{})
			w.Server.Answer(func(*server.Peer, []string) bool { <-run; return false }, "renew")
			locks := locktest.Locks(w.Lock(lease).Pool, "k", 2, lease)
			c := locktest.NewCrowd(t, locks[1])
			renewals := w.Server.Requests("renew") // those that run
			var returned time.Time
			locktest.MustDo(t, locks[0], func(context.Context) error {
				time.Sleep(lease/20 + lease/100)
				returned = time.Now()
				return nil
			})
			if took := time.Since(returned); took != 0 {
				t.Errorf("Do took %v to end, want 0", took)
			}
			if w.Server.Exists("k0") {
				t.Error("the key was not released")
			}
			if alone {
				c.Stop()
			}
			close(run)
			synctest.Wait()
			if got := renewals(); len(got) != 2 || got[0].Conn != got[1].Conn {
				t.Errorf("%d renewals have run, want 2 on one connection", len(got))
			}
			if w.Server.Exists("k0") || w.Server.Exists("k1") == alone {
				t.Errorf("k0 exists: %v, k1 exists: %v", w.Server.Exists("k0"), w.Server.Exists("k1"))
			}
			if left := w.Server.TTL("k1"); !alone && left != lease {
				t.Errorf("k1 lives %v, want %v", left, lease)
			}
			time.Sleep(2 * lease)
			c.MustLose("after the batch")
		})
	}
}

// Redis has run the release, and its reply is on its way, when it runs the renewal of a batch in
// flight. The answer to the renewal, not mine, is no loss.
func TestRenewalBetweenTheReleaseAndItsReply(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.LoadScripts(t, w.Direct(lease))
		w.Server.Forbid("SUBSCRIBE")
		run := make(chan struct{})
		w.Server.Answer(func(*server.Peer, []string) bool { <-run; return false }, "renew")
		renewals := w.Server.Count("renew") // those that run
		w.Server.Answer(func(c *server.Peer, args []string) bool {
			if locktest.KeyOf(args) != "k0" {
				return false
			}
			w.Server.Del("k0")
			close(run)
			time.Sleep(time.Millisecond)
			c.WriteInt(1)
			return true
		}, "release")
		locks := locktest.Locks(w.Lock(lease).Pool, "k", 2, lease)
		c := locktest.NewCrowd(t, locks[1])
		ctx := trace.NewContext(t.Context(), &trace.Trace{
			Lost: func(_ int64, err error) { t.Errorf("a loss was reported: %v", err) },
		})
		err := locks[0].Do(ctx, func(context.Context) error {
			time.Sleep(lease/20 + lease/100)
			return nil
		})
		if err != nil || renewals() != 2 {
			t.Errorf("Do = %v after %d renewals, want nil after 2", err, renewals())
		}
		time.Sleep(2 * lease)
		c.MustLose("after the batch")
	})
}

// A session ends, and the next one of the same Lock begins, while a renewal of the first is in
// flight. The answer to this renewal, not mine, is no loss of the second.
func TestRenewalOfTheSessionBefore(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		locktest.LoadScripts(t, w.Direct(lease))
		w.Server.Forbid("SUBSCRIBE")
		run := make(chan struct{})
		first := nth(1)
		w.Server.Answer(func(_ *server.Peer, args []string) bool {
			if first(args) {
				<-run
			}
			return false
		}, "renew")
		locks := locktest.Locks(w.Lock(lease).Pool, "k", 2, lease)
		c := locktest.NewCrowd(t, locks[1])
		locktest.MustDo(t, locks[0], func(context.Context) error {
			time.Sleep(lease/20 + lease/100)
			return nil
		})
		locktest.MustDo(t, locks[0], func(ctx context.Context) error {
			close(run)
			time.Sleep(3 * lease)
			return context.Cause(ctx)
		})
		c.MustLose("after the batch")
	})
}
