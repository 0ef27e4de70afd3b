package election

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
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
	holder setlock.Holder        // the last of watch that is not past; nobody when we were elected since

	// Of our last term.
	fence    int64 // 0 before the first
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
			if !r.rest(ctx) {
				return err
			}
		case err == setlock.ErrNotHeld || err == setlock.ErrAlreadyHeld:
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

// follow waits until nobody holds the lock, or until ctx ends. An attempt that finds the lock held
// proves nothing, because the hold that it met may be undone. Only a leader that the watch shows
// resets the pace and ends the trouble of attempts. While the watch shows nobody, follow waits for
// what the watch tells next, for one step of the pace at most. Nobody again is an answer: a leader
// has come and gone.
func (r *run) follow(ctx context.Context) {
	if !r.led() {
		d := r.pace.NextBackOff()
		if d == backoff.Stop { // nothing has failed
			d = r.lease() / 10
		}
		r.next(ctx, d)
	}
	if !r.led() {
		return
	}
	r.answered()
	for r.led() && r.next(ctx, backoff.Stop) {
	}
	r.pace.Reset()
}

// rest lets another candidate go first after our own term, for one step of the pace. Where
// announcements do not arrive, it waits until the candidates that poll have looked and tried: they
// look every tenth of the Lease at most, and have half of that for the way. When another leads
// meanwhile, rest follows it: at once after Resign, otherwise after the step, because work that
// fails at once must not be called again at once. It returns false if the pace has stopped.
func (r *run) rest(ctx context.Context) bool {
	d := r.pace.NextBackOff()
	if d == backoff.Stop {
		return false
	}
	lease, ended := r.lease(), r.clock.Now()
	r.wait(ctx, ended.Add(d), r.resigned)
	if !r.led() && !r.hears() {
		r.wait(ctx, ended.Add(lease/10+lease/20+rand.N(lease/20)), true)
	}
	if r.led() {
		r.follow(ctx)
	}
	return true
}

// pause waits for one step of the pace, or until ctx ends. It returns false if
// the pace has stopped.
func (r *run) pause(ctx context.Context) bool {
	d := r.pace.NextBackOff()
	if d == backoff.Stop {
		return false
	}
	r.wait(ctx, r.clock.Now().Add(d), false)
	return true
}

// wait waits until a time or until ctx ends; with yield, it also ends when another leads.
func (r *run) wait(ctx context.Context, until time.Time, yield bool) {
	for !(yield && r.led()) && r.next(ctx, max(until.Sub(r.clock.Now()), 0)) {
	}
}

// led reports whether another leads, as the watch has seen it.
func (r *run) led() bool { return !r.holder.Nobody() }

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
		if !r.past(ctx, h) {
			r.holder = h
			r.see(h)
		}
		return true
	}
}

// past reports whether h is our last term or one before it. The watch may tell of a term late,
// when ours, which came after it, is over.
func (r *run) past(ctx context.Context, h setlock.Holder) bool {
	switch {
	case h.Fence == 0 || h.Fence > r.fence:
		return false
	case h.Fence == r.fence:
		return h.Owner == r.owner()
	}
	// A new leader has a lower fence where Redis has lost its data and its clock was set back.
	asking, cancel := clock.WithTimeout(ctx, r.lease()/6)
	defer cancel()
	now, err := r.Lock.Holder(asking)
	return err == nil && (now.Fence != h.Fence || now.Owner != h.Owner)
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
	r.holder = setlock.Holder{}
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
