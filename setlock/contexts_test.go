package setlock_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/internal/trace"
	"example.com/setlock/setlock"
)

// A guarded context is one of a framework: its Value calls on, which may block.
type guarded struct {
	context.Context
	on func()
}

func (c *guarded) Value(key any) any {
	c.on()
	return c.Context.Value(key)
}

// A method of the context of one session blocks while its trust ends. The contexts of the others end in
// time.
func TestContextOfOneSessionDelaysNoOther(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		pool := redistest.Pool(t, w.Network.Dial)
		var held sync.WaitGroup
		var live atomic.Int32
		hold := func(key string, ctx context.Context) {
			l := &setlock.Lock{Key: key, Pool: pool, Lease: lease}
			begun := make(chan struct{})
			held.Go(func() {
				l.Do(ctx, func(ctx context.Context) error {
					live.Add(1)
					close(begun)
					<-ctx.Done()
					live.Add(-1)
					return nil
				})
			})
			<-begun
		}
		for i := range 8 {
			hold(string(rune('a'+i)), t.Context())
		}
		gate := make(chan struct{})
		var blocked atomic.Bool
		hold("other", &guarded{Context: t.Context(), on: func() {
			if blocked.Load() {
				<-gate
			}
		}})
		time.Sleep(3 * lease)
		w.Network.Set(redistest.Silent)
		blocked.Store(true)
		time.Sleep(3 * lease)
		if n := live.Load(); n > 0 {
			t.Errorf("%d contexts live three leases after the last renewal", n)
		}
		close(gate)
		w.Network.Set(redistest.Faults{})
		held.Wait()
	})
}

// The renewer outlives the first session of its Pool, and does not use the context of this session.
func TestContextIsNotUsedAfterItsDo(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		pool := redistest.Pool(t, w.Network.Dial)
		first := &setlock.Lock{Key: "first", Pool: pool, Lease: lease}
		second := &setlock.Lock{Key: "second", Pool: pool, Lease: lease}
		var over atomic.Bool
		var uses atomic.Int32
		ctx := &guarded{Context: t.Context(), on: func() {
			if over.Load() {
				uses.Add(1)
			}
		}}
		locktest.MustDo(t, second, func(outer context.Context) error { return nil })
		var wg sync.WaitGroup
		begun, end := make(chan struct{}), make(chan struct{})
		firstBegun := make(chan struct{})
		wg.Go(func() {
			first.Do(ctx, func(context.Context) error { close(firstBegun); <-begun; return nil })
			synctest.Wait()
			over.Store(true)
		})
		<-firstBegun
		wg.Go(func() {
			second.Do(t.Context(), func(context.Context) error { close(begun); <-end; return nil })
		})
		time.Sleep(4 * lease)
		if n := uses.Load(); n > 0 {
			t.Errorf("the context of a Do that has returned was used %d times", n)
		}
		close(end)
		wg.Wait()
	})
}

// Unlock finds a loss, and is slow. The loss is told before Do returns, or not at all.
func TestLossIsToldBeforeDoReturns(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		l := w.Lock(lease)
		var returned, late, slow atomic.Bool
		// The first to come here behind the end of f's context is slow. This is Unlock's goroutine,
		// unless it is preempted there. It is slow for a time, and does not wait for Do: if another
		// goroutine comes first, Do waits for this one.
		var ctx context.Context = &guarded{Context: t.Context(), on: func() {
			if slow.Swap(false) {
				time.Sleep(time.Second)
			}
		}}
		ctx = trace.NewContext(ctx, &trace.Trace{Lost: func(int64, error) {
			if returned.Load() {
				late.Store(true)
			}
		}})
		var wg sync.WaitGroup
		l.Do(ctx, func(ctx context.Context) error {
			slow.Store(true)
			wg.Go(func() { l.Unlock(context.Background()) })
			<-ctx.Done()
			return nil
		})
		returned.Store(true)
		wg.Wait()
		synctest.Wait()
		if late.Load() {
			t.Error("a goroutine that nobody joins has told of the loss after Do had returned")
		}
	})
}
