package election

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/seam"
	"example.com/setlock/setlock"
)

// A run is what one Run knows. It belongs to the goroutine of Run.
type run struct {
	*Election
	clock  clock.Clock
	pace   backoff.BackOff
	watch  <-chan setlock.Holder // nil until this candidate has to wait
	stop   context.CancelFunc    // of watch
	holder setlock.Holder        // the last of watch

	// Of our last term.
	fence    int64
	held     time.Duration
	resigned bool
}

// campaign tries to be elected, leads, follows, and so on until ctx ends.
func (r *run) campaign(ctx context.Context) error {
	for {
		led := false
		r.tries()
		err := r.Lock.Do(ctx, func(ctx context.Context) error {
			led = true
			r.answered()
			return r.lead(ctx)
		})
		var permanent *backoff.PermanentError
		switch {
		case led && errors.As(err, &permanent):
			return permanent.Err
		case !led && errors.Is(err, seam.ErrMisuse):
			return err
		case ctx.Err() != nil:
			return nil
		case led:
			if err == nil || r.resigned || r.held >= r.lease() {
				r.pace.Reset()
			}
			if !r.pause(ctx) {
				return err
			}
		case err == setlock.ErrNotHeld || err == setlock.ErrAlreadyHeld:
			r.answered()
			r.follow(ctx)
		default:
			r.failed(err)
			if !r.pause(ctx) {
				return err
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// follow waits until nobody holds the lock, or until ctx ends. If the watch saw
// nobody all along, the lock was taken and it has yet to see that, or has been
// released since: it waits for one step of the pace then.
func (r *run) follow(ctx context.Context) {
	if r.holder.Nobody() {
		d := r.pace.NextBackOff()
		if d == backoff.Stop { // nothing has failed
			d = r.lease() / 10
		}
		if !r.next(ctx, d) {
			return
		}
	}
	for !r.holder.Nobody() && r.next(ctx, backoff.Stop) {
	}
	r.pace.Reset()
}

// pause waits for one step of the pace, or until ctx ends. It returns false if
// the pace has stopped.
func (r *run) pause(ctx context.Context) bool {
	d := r.pace.NextBackOff()
	if d == backoff.Stop {
		return false
	}
	for until := r.clock.Now().Add(d); r.next(ctx, max(until.Sub(r.clock.Now()), 0)); {
	}
	return true
}

// next waits for the next holder that the watch sees, for d at most unless that is
// backoff.Stop, or until ctx ends. It reports whether there was one.
func (r *run) next(ctx context.Context, d time.Duration) bool {
	if r.watch == nil {
		watching, stop := context.WithCancel(ctx)
		r.watch, r.stop = r.Lock.Watch(watching), stop
	}
	var due <-chan time.Time
	if d != backoff.Stop {
		timer := r.clock.NewTimer(d)
		defer timer.Stop()
		due = timer.C()
	}
	select {
	case <-ctx.Done():
		return false
	case <-due:
		return false
	case h, open := <-r.watch:
		if !open {
			return false // ctx has ended
		}
		r.holder = h
		// What the watch has seen of our own terms is over.
		if h.Fence == 0 || h.Fence > r.fence {
			r.see(h)
		}
		return true
	}
}

// unwatch ends the watch, if there is one.
func (r *run) unwatch() {
	if r.watch == nil {
		return
	}
	r.stop()
	for range r.watch {
	}
}

// lead is a term, from the acquisition of the lock to before its release.
func (r *run) lead(ctx context.Context) (err error) {
	r.fence, _ = setlock.FenceFromContext(ctx)
	t := r.elected(ctx, r.fence)
	returned := false
	defer func() {
		if !returned {
			err = errPanicked // for Changes: the panic goes on
		}
		t.over(err)
	}()
	r.log(slog.LevelInfo, "elected", slog.Int64("fence", r.fence))
	if r.OnElected == nil {
		<-t.ctx.Done()
	} else {
		err = r.OnElected(t.ctx)
	}
	returned = true
	r.held = clock.Elapsed(t.start, r.clock.Now())
	r.resigned = context.Cause(t.ctx) == ErrResigned
	return err
}
