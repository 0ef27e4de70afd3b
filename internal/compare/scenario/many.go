package scenario

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"

	"example.com/setlock/internal/compare/peer"
	"example.com/setlock/internal/compare/report"
	"example.com/setlock/internal/compare/server"
)

// workers is how many goroutines acquire locks, and release them.
const workers = 16

// many measures what one process pays that holds many locks.
func (b *Bench) many(ctx context.Context, round int) error {
	for _, locks := range b.Size.Locks {
		name := report.Count(locks, "lock")
		for _, p := range b.peersOf(report.Many, round) {
			if p.Most > 0 && locks > p.Most {
				continue
			}
			b.log("round %d: many, %s: %s", round+1, name, p.Name)
			id := report.ID{Scenario: report.Many, Case: name, Peer: p.Name}
			err := b.manyOnce(ctx, p, locks, func(metric string, value float64) {
				id.Metric = metric
				b.Results.Add(id, round, value)
			})
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				id.Metric = report.ClientCPU
				b.failed(id, err)
			}
		}
	}
	return nil
}

func (b *Bench) manyOnce(ctx context.Context, p peer.Peer, locks int, add func(metric string, value float64)) error {
	serves := b.Redis
	if p.Etcd {
		serves = b.Etcd
	}
	before := costsNow()
	q, err := b.open(p, b.Size.ManyLease)
	if err != nil {
		return err
	}
	defer q.client.Close()
	holds := make([]*peer.Hold, locks)
	defer atOnce(holds, func(_ int, h *peer.Hold) {
		if h != nil {
			h.Release()
		}
	})
	from := time.Now()
	var first errOnce
	atOnce(holds, func(i int, _ *peer.Hold) {
		ctx, end := context.WithTimeout(ctx, 20*time.Second)
		defer end()
		var err error
		if holds[i], err = q.client.Acquire(ctx, b.key()); err != nil {
			first.set(err)
		}
	})
	if err := first.err; err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	acquired := time.Since(from)
	pause(ctx, b.Size.ManyLease/2)
	after := costsNow()
	if err := b.measureCPU(ctx, serves, add); err != nil {
		return err
	}
	lost, err := count(holds)
	if err != nil {
		return err
	}
	add(report.AcquireAll, acquired.Seconds())
	add(report.Goroutines, float64(after.goroutines-before.goroutines)/float64(locks))
	add(report.Heap, (after.heap-before.heap)/float64(locks)/1024)
	add(report.Lost, float64(lost))
	return nil
}

// measureCPU measures this process and the server for a lease.
func (b *Bench) measureCPU(ctx context.Context, serves *server.Server, add func(metric string, value float64)) error {
	client, err := ownCPU()
	if err != nil {
		return err
	}
	cpu, err := serves.CPU()
	if err != nil {
		return err
	}
	from := time.Now()
	pause(ctx, b.Size.ManyLease)
	took := time.Since(from)
	client2, err := ownCPU()
	if err != nil {
		return err
	}
	cpu2, err := serves.CPU()
	if err != nil {
		return err
	}
	add(report.ClientCPU, 100*(client2-client).Seconds()/took.Seconds())
	add(report.ServerCPU, 100*(cpu2-cpu).Seconds()/took.Seconds())
	return nil
}

// count returns how many locks are lost: the holder was told so, or the key is gone.
func count(holds []*peer.Hold) (lost int, err error) {
	var mu sync.Mutex
	var first errOnce
	atOnce(holds, func(_ int, h *peer.Hold) {
		expiry, err := h.Expiry()
		if err != nil {
			first.set(err)
		}
		select {
		case <-h.Lost:
		default:
			if !expiry.IsZero() {
				return
			}
		}
		mu.Lock()
		defer mu.Unlock()
		lost++
	})
	return lost, first.err
}

// atOnce calls f for each hold, in as many goroutines as there are workers.
func atOnce(holds []*peer.Hold, f func(int, *peer.Hold)) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(holds); i += workers {
				f(i, holds[i])
			}
		})
	}
	wg.Wait()
}

// errOnce keeps the first error.
type errOnce struct {
	once sync.Once
	err  error
}

func (e *errOnce) set(err error) { e.once.Do(func() { e.err = err }) }

// costs are what this process uses.
type costs struct {
	heap       float64 // bytes
	goroutines int
}

func costsNow() costs {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return costs{heap: float64(m.HeapAlloc), goroutines: runtime.NumGoroutine()}
}

func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
