package election

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/internal/clock"
	"example.com/setlock/setlock"
)

// A campaign is one Run. It belongs to the goroutine of Run.
type campaign struct {
	election *Election
	lock     *setlock.Lock
	lease    time.Duration
	clock    clock.Clock
	pace     backoff.BackOff

	watch  <-chan setlock.Holder // nil until this candidate has to wait
	stop   context.CancelFunc    // of watch
	leader setlock.Holder        // another's, as the watch has shown; nobody since our own last term

	// Of our last term:
	fence    int64 // 0 before the first
	held     time.Duration
	resigned bool
}

// run tries to be elected, leads, follows, and so on until ctx ends.
func (c *campaign) run(ctx context.Context) error {
	for {
		led := false
		c.election.note(nil, health.tries)
		err := c.lock.Do(ctx, func(ctx context.Context) error {
			led = true
			c.election.note(nil, health.accepted)
			return c.lead(ctx)
		})
		var permanent *backoff.PermanentError
		goesOn := true
		switch {
		case led && errors.As(err, &permanent):
			return permanent.Err
		case !led && errors.Is(err, setlock.ErrInvalid):
			return err
		case ctx.Err() != nil:
			return nil
		case led:
			goesOn = c.rest(ctx, err)
		case err == setlock.ErrNotHeld || err == setlock.ErrAlreadyHeld:
			c.follow(ctx)
		default:
			c.election.note(err, func(h health) health { return h.failed(err, c.clock.Now()) })
			goesOn = c.pause(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case !goesOn:
			return err
		}
	}
}

// lead is a term, from the acquisition of the lock to before its release.
func (c *campaign) lead(ctx context.Context) (err error) {
	e := c.election
	c.fence, _ = setlock.FenceFromContext(ctx)
	c.leader = setlock.Holder{}
	t := e.beginTerm(ctx, c.fence)
	returned := false
	defer func() {
		if !returned {
			err = errPanicked // for Changes: the panic propagates
		}
		t.end(err)
	}()
	e.log(slog.LevelInfo, "elected", slog.Int64("fence", c.fence))
	if e.OnElected == nil {
		<-t.ctx.Done()
	} else {
		err = e.OnElected(t.ctx)
	}
	returned = true
	c.held = clock.Elapsed(t.start, c.clock.Now())
	c.resigned = context.Cause(t.ctx) == ErrResigned
	return err
}

// follow waits until nobody holds the lock, or until ctx ends. An attempt that found the lock held
// proves nothing, because the hold that it met may be undone. Only a leader that the watch shows
// resets the pace and ends the trouble of attempts. While the watch shows nobody, follow waits for
// what it shows next, for one step of the pace at most. Nobody again is an answer: a leader
// has come and gone.
func (c *campaign) follow(ctx context.Context) {
	if !c.follows() {
		d := c.pace.NextBackOff()
		if d == backoff.Stop { // nothing has failed
			d = c.lease / 10
		}
		c.next(ctx, d)
	}
	if !c.follows() {
		return
	}
	c.election.note(nil, health.accepted)
	for c.follows() && c.next(ctx, backoff.Stop) {
	}
	c.pace.Reset()
}

// rest lets another candidate go first after our own term, which ended with err. It lasts one step
// of the pace. Where announcements do not arrive, it lasts until the candidates that poll have
// looked and tried: they look every tenth of the Lease at most, and have half of that for the
// way. When another one leads meanwhile, rest follows it: at once after Resign, otherwise after
// the step, because work that fails at once must not be called again at once. It returns false
// if the pace has stopped.
func (c *campaign) rest(ctx context.Context, err error) bool {
	if err == nil || c.resigned || c.held >= c.lease {
		c.pace.Reset()
	}
	d := c.pace.NextBackOff()
	if d == backoff.Stop {
		return false
	}
	ended := c.clock.Now()
	c.wait(ctx, ended.Add(d), c.resigned)
	if !c.follows() && !c.election.hears() {
		c.wait(ctx, ended.Add(c.lease/10+c.lease/20+rand.N(c.lease/20)), true)
	}
	if c.follows() {
		c.follow(ctx)
	}
	return true
}

// pause waits for one step of the pace, or until ctx ends. It returns false if
// the pace has stopped.
func (c *campaign) pause(ctx context.Context) bool {
	d := c.pace.NextBackOff()
	if d == backoff.Stop {
		return false
	}
	c.wait(ctx, c.clock.Now().Add(d), false)
	return true
}

// wait waits until a time, or until ctx ends. With yield, it also ends when another candidate leads.
func (c *campaign) wait(ctx context.Context, until time.Time, yield bool) {
	for !(yield && c.follows()) && c.next(ctx, max(until.Sub(c.clock.Now()), 0)) {
	}
}

// follows reports whether another candidate leads, as the watch has shown.
func (c *campaign) follows() bool { return !c.leader.Nobody() }

// next waits for the next holder that the watch shows, for d at most unless that is
// backoff.Stop, or until ctx ends. It reports whether there was one.
func (c *campaign) next(ctx context.Context, d time.Duration) bool {
	if c.watch == nil {
		watching, stop := context.WithCancel(ctx)
		c.watch, c.stop = c.lock.Watch(watching), stop
	}
	var due <-chan time.Time
	if d != backoff.Stop {
		timer := c.clock.NewTimer(d)
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

// isPast reports whether h is our last term, or a term before it: the watch may show a term when
// ours, which came after it, is over.
func (c *campaign) isPast(ctx context.Context, h setlock.Holder) bool {
	switch {
	case h.Fence == 0 || h.Fence > c.fence:
		return false
	case h.Fence == c.fence:
		return h.Owner == c.election.owner()
	}
	// A new leader has a lower fence where Redis has lost its data and its clock was set back.
	asking, cancel := clock.WithTimeout(ctx, c.lease/6)
	defer cancel()
	now, err := c.lock.Holder(asking)
	return err == nil && (now.Fence != h.Fence || now.Owner != h.Owner)
}

// unwatch ends the watch, if there is one.
func (c *campaign) unwatch() {
	if c.watch == nil {
		return
	}
	c.stop()
	for range c.watch {
	}
}
