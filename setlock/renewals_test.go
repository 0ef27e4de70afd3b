package setlock_test

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestRenewalSchedule(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Direct(lease)
		locktest.LoadScripts(t, l)
		renewals := w.Server.Times("renew")
		start := time.Now()
		locktest.MustDo(t, w.Direct(lease), func(ctx context.Context) error {
			time.Sleep(10 * lease)
			return ctx.Err()
		})
		times := renewals()
		if len(times) < 4 {
			t.Fatalf("%d renewals in ten leases", len(times))
		}
		if got := times[0].Sub(start); got != lease/20 {
			t.Errorf("the first renewal came after %v, want %v", got, lease/20)
		}
		// A new subscription triggers one renewal, because it tells nothing of the time before it.
		if got := times[1].Sub(times[0]); got != 0 {
			t.Errorf("the one for the subscription came %v later, want 0", got)
		}
		for i := 2; i < len(times); i++ {
			gap := times[i].Sub(times[i-1])
			if i == 2 && (gap <= 0 || gap >= lease/3) {
				t.Errorf("the second renewal came after %v, want a random part of %v", gap, lease/3)
			} else if i > 2 && gap != lease/3 {
				t.Errorf("renewal %d came %v after the one before, want %v", i, gap, lease/3)
			}
		}
	})
}

// Sessions that begin together on a slow network do not renew together from then on.
func TestRenewalsAreSpread(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		const n = 200
		locktest.LoadScripts(t, w.Direct(lease))
		renewals := w.Server.Times("renew")
		pool := w.Lock(lease).Pool
		w.Network.Set(redistest.Faults{Delay: lease / 32})
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				l := &setlock.Lock{Key: strconv.Itoa(i), Pool: pool, Lease: lease}
				locktest.MustDo(t, l, func(ctx context.Context) error {
					time.Sleep(2 * lease)
					return ctx.Err()
				})
			})
		}
		time.Sleep(lease)
		start := time.Now()
		time.Sleep(lease / 3)
		const parts = 20 // renewals within a fortieth of the lease, 7.5 %, go together
		var renewed [parts]int
		for _, at := range renewals() {
			if at.After(start) {
				renewed[min(int(at.Sub(start)*parts/(lease/3)), parts-1)]++
			}
		}
		all := 0
		for _, some := range renewed {
			all += some
		}
		if most := slices.Max(renewed[:]); all < n*9/10 || most > n/4 {
			t.Errorf("%d renewals by %d sessions in a third of the lease, %d of them in a twentieth of that; want all, and spread", all, n, most)
		}
		wg.Wait()
	})
}
