package setlock

import (
	"context"
	"time"
)

// Wait blocks until nobody is known to hold the lock, and then returns nil. It learns this as
// [Lock.Watch] does: a release is announced, an expiry is noticed within milliseconds, and
// while announcements do not arrive, Wait polls. Another caller may be faster, so the caller
// then tries Lock or Do, and waits again after [ErrNotHeld].
//
// While Redis cannot be asked, Wait blocks until the remaining time of the holder, as last
// seen, has run out. It blocks for as long as Redis has not told who holds the lock. When ctx
// ends, Wait returns at once an error that wraps [context.Cause] of ctx. When the Lock is
// invalid, Wait returns an [ErrInvalid].
//
// Each call of Wait asks Redis once, and again as Watch does. While other calls of Wait or
// Watch, or a Do, use the same Pool, they share one connection for announcements.
func (l *Lock) Wait(ctx context.Context) error {
	const op = "wait"
	if err := l.check(op); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return l.fail(op, context.Cause(ctx))
	}
	watching, cancel := context.WithCancel(ctx)
	out := make(chan Holder)
	go l.watch(watching, out, min(time.Duration(l.lease())/20, patience)) // joined below
	defer func() {
		cancel()
		for range out {
		}
	}()
	for {
		select {
		case h, open := <-out:
			if open && h.Nobody() {
				return nil
			}
			if !open {
				return l.fail(op, context.Cause(ctx))
			}
		case <-ctx.Done():
			return l.fail(op, context.Cause(ctx))
		}
	}
}

// patience is how long Wait waits for announcements before it looks without them, at most. When
// they arrive, one look is enough.
const patience = 100 * time.Millisecond
