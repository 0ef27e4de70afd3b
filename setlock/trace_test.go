package setlock_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/internal/trace"
	"example.com/setlock/setlock"
)

// A renewal that was traced.
type tracedRenewal struct {
	took time.Duration
	err  error
}

// traced returns a context whose renewals are sent to the channel.
func traced(ctx context.Context) (context.Context, <-chan tracedRenewal) {
	c := make(chan tracedRenewal, 1000)
	return trace.NewContext(ctx, &trace.Trace{Renewed: func(took time.Duration, err error) { c <- tracedRenewal{took, err} }}), c
}

// Each attempt to renew is reported once, with its round trip or why it failed.
func TestTraceOfRenewals(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		locktest.LoadScripts(t, l)
		sent := w.Server.Count("renew")
		w.Network.Set(redistest.Faults{Delay: 10 * time.Millisecond})
		ctx, renewals := traced(t.Context())
		err := l.Do(ctx, func(ctx context.Context) error {
			time.Sleep(3 * lease)
			if n := len(renewals); n != sent() || n < 9 {
				t.Errorf("%d renewals are reported of %d", n, sent())
			}
			for len(renewals) > 0 {
				if r := <-renewals; r.err != nil || r.took != 20*time.Millisecond {
					t.Errorf("reported %+v, want a round trip of 20 ms", r)
				}
			}
			w.Disconnect()
			time.Sleep(lease / 2)
			if len(renewals) < 2 {
				t.Errorf("%d attempts are reported without Redis", len(renewals))
			}
			for len(renewals) > 0 {
				if r := <-renewals; r.err == nil {
					t.Errorf("reported %+v, want why it failed", r)
				}
			}
			w.Network.Set(redistest.Faults{})
			time.Sleep(lease / 10)
			if r := <-renewals; r.err != nil {
				t.Errorf("reported %+v when Redis is back", r)
			}
			for len(renewals) > 0 {
				<-renewals
			}
			w.Server.Del("k")
			<-ctx.Done()
			return nil
		})
		if !errors.Is(err, setlock.ErrLost) {
			t.Errorf("Do = %v, want a loss", err)
		}
		if r := <-renewals; r.err == nil || len(renewals) > 0 {
			t.Errorf("reported %+v and %d more, want one that found the key gone", r, len(renewals))
		}
	})
}

// A context of Do tells how much longer its lock may be trusted.
func TestTraceOfTrust(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		var inner context.Context
		locktest.MustLose(t, w.Lock(lease), func(ctx context.Context) error {
			inner = ctx
			if got := trace.Trusted(ctx); got != lease*9/10 {
				t.Errorf("trusted for %v when acquired, want %v", got, lease*9/10)
			}
			time.Sleep(2 * lease)
			w.Disconnect()
			before := trace.Trusted(ctx)
			locktest.Between(t, "trusted for", before, lease*9/10-lease/3, lease*9/10)
			time.Sleep(lease / 4)
			if got := trace.Trusted(ctx); got != before-lease/4 {
				t.Errorf("trusted for %v after %v, want %v", got, lease/4, before-lease/4)
			}
			<-ctx.Done()
			if got := trace.Trusted(ctx); got != 0 {
				t.Errorf("trusted for %v after the loss", got)
			}
			return nil
		})
		if a, b := trace.Trusted(inner), trace.Trusted(t.Context()); a != 0 || b != 0 {
			t.Errorf("trusted for %v after Do and %v outside, want 0", a, b)
		}
	})
}

// A watch reports each look: whether the holder that it reports holds the lock, without an end or not.
func TestTraceOfLooks(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		told := make(chan string, 1000)
		ctx, cancel := context.WithCancel(trace.NewContext(t.Context(), &trace.Trace{Looked: func(held, endless bool) {
			told <- fmt.Sprint(held, endless)
		}}))
		c := w.Lock(lease).Watch(ctx)
		sees := func(want ...string) {
			t.Helper()
			time.Sleep(lease + lease/10)
			var looks []string
			for len(told) > 0 {
				looks = append(looks, <-told)
			}
			if !slices.Equal(looks, want) {
				t.Errorf("looks %q, want %q", looks, want)
			}
		}
		locktest.SeesNobody(t, c, 0)
		synctest.Wait()
		if n := len(told); n < 1 || n > 2 { // the subscription and the timer may come together
			t.Errorf("%d looks when the watch begins, want one or two", n)
		}
		for len(told) > 1 {
			<-told
		}
		sees("false false", "false false")
		w.Server.Set("k", "foreign")
		sees("true true")
		locktest.Receive(t, c, 0)
		w.Server.SetTTL("k", time.Hour)
		sees("true false")
		w.Server.Del("k")
		sees("false false")
		locktest.SeesNobody(t, c, 0)
		cancel()
		for range c {
		}
	})
}

// The trace of a Do does not report what its function does with other Locks.
func TestTraceReportsNoOtherLock(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		var calls int
		ctx := trace.NewContext(t.Context(), &trace.Trace{Called: func(time.Time, error) { calls++ }})
		other := w.Direct(lease)
		other.Key = "other"
		if err := w.Lock(lease).Do(ctx, func(ctx context.Context) error {
			before := calls
			_, err := other.Lock(ctx, lease)
			if calls != before || before == 0 {
				t.Errorf("%d calls of another Lock were reported, and %d of its own, want 0 and some", calls-before, before)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}
