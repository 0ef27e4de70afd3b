package setlock

import (
	"context"
	"sync"
)

// A turn is a mutex whose wait ends when a context ends. The zero turn is free.
type turn struct {
	once sync.Once
	slot chan struct{} // full while a call has the turn
}

// take blocks until the turn is free, or returns the cause of ctx when ctx ends first.
// After nil, the caller must call end.
func (t *turn) take(ctx context.Context) error {
	t.once.Do(func() { t.slot = make(chan struct{}, 1) })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case t.slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *turn) end() { <-t.slot }
