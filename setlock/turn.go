package setlock

import (
	"context"
	"sync"
)

// A turn is what one call at a time has. Its zero value is nobody's.
type turn struct {
	once sync.Once
	slot chan struct{} // full while somebody has the turn
}

// take waits until nobody has the turn, or ctx ends. Without an error, end must be called.
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
