package peer

import (
	"context"
	"sync"
	"time"
)

// loop renews a lock of a library that leaves the renewal to its users, every third of
// the lease. It waits for each renewal, as long as the library takes.
type loop struct {
	lost chan struct{} // closed when a renewal has failed
	quit func()
	done chan struct{}
}

// startLoop starts a goroutine. stop joins it.
func startLoop(lease time.Duration, renew func(context.Context) bool) *loop {
	ctx, cancel := context.WithCancel(context.Background())
	l := &loop{lost: make(chan struct{}), quit: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		t := time.NewTicker(lease / 3)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			attempt, end := context.WithTimeout(ctx, lease/3)
			ok := renew(attempt)
			end()
			if ctx.Err() != nil {
				return
			}
			if !ok {
				close(l.lost)
				return
			}
		}
	}()
	return l
}

// hold returns the Hold of a lock on Redis that l renews.
func (l *loop) hold(addr, key string, release func() error) *Hold {
	return onRedis(addr, key, &Hold{
		Lost: l.lost,
		Release: sync.OnceValue(func() error {
			l.quit()
			<-l.done
			return release()
		}),
	})
}
