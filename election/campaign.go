package election

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/internal/clock"
	"example.com/setlock/setlock"
)

// A campaign is one Run. Only the goroutine of Run uses it.
type campaign struct {
	election *Election
	pace     backoff.BackOff

	watch  <-chan setlock.Holder // nil until this candidate has to wait
	stop   context.CancelFunc    // ends watch
	leader setlock.Holder        // another candidate, as watch has shown; zero since our last term

	// About our last term:
	fence    int64         // 0 before the first term
	held     time.Duration // how long the term lasted
	resigned bool          // Resign ended the term
	failed   error         // the error of OnElected beside the end of its context, or nil
}

// run campaigns, leads and follows until ctx ends or an error ends Run.
func (c *campaign) run(ctx context.Context) error {
	for {
		led := false
		c.election.note(nil, (*health).tries)
		err := c.election.Lock.Do(ctx, func(ctx context.Context) error {
			led = true
			c.election.attempted(false)
			c.election.note(nil, (*health).leads)
			return c.lead(ctx)
		})
		var permanent *backoff.PermanentError
		goesOn := true
		switch {
		case led && errors.As(err, &permanent):
			return permanent.Err
		case !led && errors.Is(err, setlock.ErrInvalid) && !errors.Is(context.Cause(ctx), setlock.ErrInvalid):
			return err
		case led && ctx.Err() != nil:
			return c.failed
		case ctx.Err() != nil:
			return nil
		case led:
			goesOn = c.rest(ctx, err)
		case err == setlock.ErrNotHeld || err == setlock.ErrAlreadyHeld:
			c.election.attempted(false)
			c.follow(ctx)
		default:
			c.election.attempted(true)
			c.election.note(err, func(h *health) { h.failed(err, c.election.clock.Now()) })
			goesOn = c.pause(ctx)
		}
		switch {
		case !goesOn:
			return err
		case ctx.Err() != nil:
			return nil
		}
	}
}

// lead runs one term. Do calls lead after it has acquired the lock and before it releases the lock.
func (c *campaign) lead(ctx context.Context) (err error) {
	e := c.election
	c.fence, _ = setlock.FenceFromContext(ctx)
	c.leader = setlock.Holder{}
	t := e.beginTerm(ctx, c.fence)
	c.failed = errPanicked // for Changes and the log, unless OnElected returns; a panic propagates
	defer func() { t.end(c.failed) }()
	t.logStart()
	if e.OnElected == nil {
		<-t.ctx.Done()
	} else {
		err = e.OnElected(t.ctx)
	}
	c.failed = ownError(t.ctx, err)
	c.held = clock.Elapsed(t.start, c.election.clock.Now())
	c.resigned = context.Cause(t.ctx) == ErrResigned
	return err
}

// follow waits until nobody holds the lock, or until ctx ends.
//
// An attempt that found the lock held does not prove that there is a leader, because the hold that
// the attempt found may be undone. So only a leader that the watch shows resets the pace and ends
// the trouble of attempts. While the watch shows nobody, follow waits for the next holder that the
// watch shows, for one step of the pace at most. When the watch shows nobody once more, a leader
// has come and gone, and follow returns.
func (c *campaign) follow(ctx context.Context) {
	if !c.follows() {
		d := c.pace.NextBackOff()
		if d == backoff.Stop { // there is no error that could end Run
			d = c.election.lease() / 10
		}
		c.next(ctx, d)
	}
	if !c.follows() {
		return
	}
	c.election.note(nil, (*health).accepted)
	for c.follows() && c.next(ctx, backoff.Stop) {
	}
	c.pace.Reset()
}

// rest lets another candidate go first after our own term, which ended with err. It returns false
// if the pace has stopped.
//
// rest waits for one step of the pace. Where announcements do not arrive, rest waits until the
// candidates that poll have looked and tried. They look at least once in a tenth of the Lease, and
// rest gives their requests half of this time to arrive.
//
// When another candidate leads meanwhile, rest follows it: at once after Resign, in other cases
// after the step, because work that fails at once must not be called again at once.
func (c *campaign) rest(ctx context.Context, err error) bool {
	if err == nil || c.resigned || c.held >= c.election.lease() {
		c.pace.Reset()
	}
	d := c.pace.NextBackOff()
	if d == backoff.Stop {
		return false
	}
	ended := c.election.clock.Now()
	c.wait(ctx, ended.Add(d), c.resigned)
	if !c.follows() && !c.election.hears() {
		c.wait(ctx, ended.Add(c.election.lease()/10+c.election.lease()/20+rand.N(c.election.lease()/20)), true)
	}
	if c.follows() {
		c.follow(ctx)
	}
	return true
}

// pause waits for one step of the pace, or until ctx ends. It returns false if the pace has
// stopped.
func (c *campaign) pause(ctx context.Context) bool {
	d := c.pace.NextBackOff()
	if d == backoff.Stop {
		return false
	}
	c.wait(ctx, c.election.clock.Now().Add(d), false)
	return true
}

// wait waits until the given time, or until ctx ends. If yield is true, wait also returns when
// another candidate leads.
func (c *campaign) wait(ctx context.Context, until time.Time, yield bool) {
	for !(yield && c.follows()) && c.next(ctx, max(until.Sub(c.election.clock.Now()), 0)) {
	}
}

// follows reports whether another candidate leads, as the watch has shown.
func (c *campaign) follows() bool { return !c.leader.Nobody() }

// next waits for the next holder that the watch shows, for d at most, or until ctx ends. If d is
// backoff.Stop, there is no time limit. next reports whether the watch showed a holder.
func (c *campaign) next(ctx context.Context, d time.Duration) bool {
	if c.watch == nil {
		watching, stop := context.WithCancel(ctx)
		c.watch, c.stop = c.election.Lock.Watch(watching), stop
	}
	var due <-chan time.Time
	if d != backoff.Stop {
		timer := c.election.clock.NewTimer(d)
		defer timer.Stop()
		due = timer.C()
	}
	select {
	case <-ctx.Done():
		return false
	case <-due:
		return false
	case h, open := <-c.watch:
		if !open {
			return false // ctx has ended
		}
		if !c.isPast(ctx, h) {
			c.leader = h
			c.election.see(h)
		}
		return true
	}
}

// isPast reports whether h is our last term or a term before it. The watch may show such a term
// late, when our last term is over. It must not be taken for a new leader.
func (c *campaign) isPast(ctx context.Context, h setlock.Holder) bool {
	switch {
	case h.Fence == 0 || h.Fence > c.fence:
		return false
	case h.Fence == c.fence:
		return h.Owner == c.election.owner()
	}
	// A new leader also has a lower fence if Redis lost its data and its clock was set back. A look
	// at the lock tells the two cases apart.
	asking, cancel := clock.WithTimeout(ctx, c.election.lease()/6)
	defer cancel()
	now, err := c.election.Lock.Holder(asking)
	return err == nil && (now.Fence != h.Fence || now.Owner != h.Owner)
}

// unwatch ends the watch, if there is one, and waits for its end.
func (c *campaign) unwatch() {
	if c.watch == nil {
		return
	}
	c.stop()
	for range c.watch {
	}
}
