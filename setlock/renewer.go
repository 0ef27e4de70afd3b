package setlock

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/notify"
)

// A renewer renews the locks of all sessions on one Pool, and ends the sessions that cannot
// be trusted any more. It runs while there is a session.
//
// One goroutine, run, decides: it looks at each renewal when it is due and when its trust
// ends. This goroutine never waits for the network or for a caller, so nothing delays the
// end of trust. Batches do the I/O, in a goroutine each.
type renewer struct {
	pool     *redis.Pool // of the sessions
	spare    *redis.Pool // connections outside the limits of pool
	notifier *notify.Notifier
	clock    clock.Clock
	start    time.Time // all times of type time.Duration are counted from start

	// ctx is the context of run and of the batches. cancel ends them.
	ctx    context.Context
	cancel context.CancelFunc
	wake   signal
	done   chan struct{} // closed when run has ended
	inbox  inbox

	mu       sync.Mutex // guards the fields below
	queue    queue      // all renewals that are not over
	ready    []*renewal // those that wait for a batch, and some that are over
	batches  []*batch   // under way, oldest first
	running  map[*batch]bool
	leases   leases            // of all renewals
	answered time.Duration     // when Redis has answered a renewal last
	retry    [64]time.Duration // by lease.class: when renewals that failed are due again
	sleeping time.Duration     // when run looks next, unless it is woken
	skew     time.Duration     // wall clock minus monotonic clock when all renewals were looked at last
}

// startRenewer starts a renewer. The caller must call close.
func startRenewer(c clock.Clock, pool, spare *redis.Pool, n *notify.Notifier) *renewer {
	r := &renewer{
		pool: pool, spare: spare, notifier: n, clock: c,
		wake: newSignal(), done: make(chan struct{}),
		running: make(map[*batch]bool), leases: make(leases),
	}
	r.start = r.clock.Now()
	// The renewer may outlive the first session. So it uses no context of a session.
	r.ctx, r.cancel = context.WithCancel(clock.NewContext(context.Background(), c))
	go r.run() // joined by close
	return r
}

// close ends the renewer, which has no renewals any more. It interrupts the batches under
// way. It does not wait for a batch that is stuck in Dial, or in a connection that cannot be
// interrupted. Such a batch ends by itself, and does nothing more.
func (r *renewer) close() {
	r.cancel()
	<-r.done
	timer := r.clock.NewTimer(joinFor)
	defer timer.Stop()
	r.mu.Lock()
	running := maps.Clone(r.running)
	r.mu.Unlock()
	for b := range running {
		select {
		case <-b.done:
		case <-timer.C():
			return
		}
	}
}

// add begins to renew e.
func (r *renewer) add(e *renewal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leases[e.remote.lease]++
	now := r.clock.Now()
	e.schedule = schedule{lease: e.remote.lease}
	e.due = now.Sub(r.start) + e.remote.lease.firstRenewal()
	at := min(r.next(e, now), now.Sub(r.start)+e.remote.lease.glance())
	r.queue.add(e, at)
	r.wakeFor(at)
}

// remove ends the renewal of e. A reply that comes later changes nothing.
func (r *renewer) remove(e *renewal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(e)
}

// forget is remove with r.mu held.
func (r *renewer) forget(e *renewal) {
	if e.state == over {
		return
	}
	e.state = over
	r.queue.remove(e)
	if r.leases[e.remote.lease]--; r.leases[e.remote.lease] == 0 {
		delete(r.leases, e.remote.lease)
	}
}

// run looks at the renewals, again and again, until close.
func (r *renewer) run() {
	defer close(r.done)
	timer := r.clock.NewTimer(MaxLease) // set below
	defer timer.Stop()
	for {
		pause, untrusted := r.look()
		for _, e := range untrusted {
			// The end of a context may block in a method of a context of the user. It must not
			// delay the end of other sessions.
			go func() { // joined by the close of e
				defer e.calls.Done()
				e.session.lose(e.reason())
			}()
		}
		timer.Reset(pause)
		select {
		case <-r.ctx.Done():
			return
		case <-r.wake:
		case <-timer.C():
		}
	}
}

// look does what is due. It returns the pause until the next look, and the renewals whose
// trust has ended. The caller must end their sessions, and call Done on their calls.
func (r *renewer) look() (pause time.Duration, untrusted []*renewal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	at := now.Sub(r.start)
	if r.jumped(now) {
		r.queue.moveAll(func(e *renewal) time.Duration { return r.next(e, now) })
	}
	for _, b := range slices.Clone(r.batches) {
		if b.deadline <= at {
			r.giveUp(b, context.DeadlineExceeded)
		}
	}
	for _, e := range r.inbox.take() {
		if e.state != over && e.doubts() {
			r.renewNow(e, now)
		}
	}
	for len(r.queue) > 0 && r.queue[0].at <= at {
		e := r.queue[0].renewal
		switch {
		case e.left(now) <= 0:
			r.forget(e)
			e.calls.Add(1)
			untrusted = append(untrusted, e)
		case e.state == idle && e.due <= at:
			r.makeReady(e, false, now)
		default:
			r.move(e, now)
		}
	}
	r.takeAlong(at, now)
	r.send(at)
	r.sleeping = r.nextLook(at)
	return max(r.sleeping-at, 0), untrusted
}

// jumped reports whether the wall clock has moved against the monotonic clock since all
// renewals were looked at last.
func (r *renewer) jumped(now time.Time) bool {
	skew := now.Round(0).Sub(r.start.Round(0)) - now.Sub(r.start)
	if (skew - r.skew).Abs() <= r.leases.shortest().drift() {
		return false
	}
	r.skew = skew
	return true
}

// nextLook returns when to look next.
func (r *renewer) nextLook(at time.Duration) time.Duration {
	next := at + r.leases.shortest().glance()
	if len(r.queue) > 0 {
		next = min(next, r.queue[0].at)
	}
	for _, b := range r.batches {
		next = min(next, b.deadline)
	}
	if len(r.ready) > 0 {
		next = min(next, r.roomAt(at))
	}
	return next
}

// wakeFor wakes run if it does not look before the given time by itself.
func (r *renewer) wakeFor(at time.Duration) {
	if at < r.sleeping {
		r.wake.set()
	}
}

// next returns when to look at e next: when it is due, or when its trust ends.
func (r *renewer) next(e *renewal, now time.Time) time.Duration {
	end := now.Sub(r.start) + e.left(now)
	if e.state == idle {
		return min(e.due, end)
	}
	return end
}

// move puts e where it belongs in the queue.
func (r *renewer) move(e *renewal, now time.Time) {
	at := r.next(e, now)
	r.queue.move(e, at)
	r.wakeFor(at)
}

// renewNow has the lock of e renewed at once, because it may have been lost.
func (r *renewer) renewNow(e *renewal, now time.Time) {
	switch e.state {
	case idle:
		r.makeReady(e, e.due > now.Sub(r.start), now)
	case sent:
		e.again = true // Redis may have run the renewal before the lock was lost
	}
}

// makeReady has the lock of e renewed by the next batch. With the first renewal, it also
// subscribes to announcements.
func (r *renewer) makeReady(e *renewal, extra bool, now time.Time) {
	if e.announced == nil {
		e.announced = r.notifier.Subscribe(r.ctx, e.remote.keys.Channel, func() { r.heard(e) })
	}
	e.state, e.extra = ready, extra
	r.ready = append(r.ready, e)
	r.move(e, now)
}
