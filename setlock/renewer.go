package setlock

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/notify"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/wire"
)

// A schedule is when the next renewal of a session is due, and where. It is a value.
//
// The first renewal comes early, together with the subscription to announcements, because
// a subscription tells nothing of the time before it. The second comes after a random part
// of what is then left of a third of the lease: sessions that began together do not renew
// together, and neither do sessions that have missed Redis together. After that,
// each renewal is sent a third of the lease after the one before. A renewal that fails
// is tried again soon, on the other kind of connection: of the Pool, or outside its
// limits.
type schedule struct {
	lease   lease
	steady  bool // the last renewal counted, and the next is a third of the lease after it
	failing bool // the last renewal failed
	outside bool // the next renewal takes a connection outside the Pool's limits
}

// failed returns the schedule after a renewal that failed, and when the next one is due.
func (s schedule) failed() (schedule, time.Duration) {
	s.failing, s.outside = true, !s.outside
	return s, s.lease.retryInterval()
}

// counted returns the schedule after a renewal that counted, and when the next one is due, when
// took has passed since that renewal was sent. extra says that it was not a scheduled one.
func (s schedule) counted(took time.Duration, extra bool) (schedule, time.Duration) {
	pause := max(s.lease.renewInterval()-took, 0)
	if !s.steady || s.failing || extra {
		pause = rand.N(pause + 1)
	}
	return schedule{lease: s.lease, steady: true}, pause
}

// A renewer renews the lock of one session.
type renewer struct {
	remote remote
	holds  *holds
	hold   *hold
	clock  clock.Clock
	shared *shared
	guard  *guard
	taken  func() // ends the session: the key is another's

	running sync.WaitGroup
	slot    chan struct{} // full during a renewal, and for good after the last one
}

// start begins to renew, until ctx ends. join must be called.
func (r *renewer) start(ctx context.Context) { r.running.Go(func() { r.run(ctx) }) }

// last returns when no renewal runs, and none will. What else the renewer does may still run.
func (r *renewer) last() { r.slot <- struct{}{} }

// join returns when nothing of the renewer runs any more.
func (r *renewer) join() { r.running.Wait() }

// run renews the lock until ctx ends. An announcement that names another
// holder, and a new subscription, trigger one extra renewal. If the scheduled renewal
// falls due meanwhile, the extra one replaces it.
func (r *renewer) run(ctx context.Context) {
	timer := r.clock.NewTimer(r.remote.lease.firstRenewal())
	defer timer.Stop()
	var (
		next      = schedule{lease: r.remote.lease}
		announced *notify.Subscription
		signal    <-chan struct{}
		pause     time.Duration
	)
	for {
		extra := false
		select {
		case <-ctx.Done():
			return
		case <-timer.C():
		case <-signal:
			if !r.doubts(announced) {
				continue
			}
			extra = true
		}
		if announced == nil {
			announced = r.shared.notifier.Subscribe(ctx, r.remote.keys.Channel)
			defer announced.Close()
			signal = announced.Signal
		}
		sent := r.clock.Now()
		if !r.renew(ctx, next.outside) {
			next, pause = next.failed()
			timer.Reset(pause)
			continue
		}
		if extra && !next.failing && !fired(timer) {
			continue // a check does not change the schedule
		}
		next, pause = next.counted(clock.Elapsed(sent, r.clock.Now()), extra)
		timer.Reset(pause)
	}
}

// fired reports whether timer has fired, and clears that.
func fired(timer clock.Timer) bool {
	select {
	case <-timer.C():
		return true
	default:
		return false
	}
}

// doubts reports whether what was announced leaves doubt that the lock is the session's.
func (r *renewer) doubts(announced *notify.Subscription) bool {
	message, missed, up := announced.Take()
	switch {
	case !up:
		return false
	case missed:
		return true
	case len(message) == 0:
		return false
	}
	a, ok := protocol.ParseAnnouncement(string(message))
	return !ok || !a.Acquired || a.Value != r.hold.value
}

// renew makes one attempt to renew the lock, on a connection of the Pool or outside its
// limits. It reports whether that counts. If not, the session may have ended.
func (r *renewer) renew(ctx context.Context, outside bool) bool {
	select {
	case r.slot <- struct{}{}:
		defer func() { <-r.slot }() // also if a Logger that hears of it exits
	default:
		return false // the last renewal was sent
	}
	pool := r.remote.pool
	if outside {
		pool = r.shared.spare
	}
	ctx, cancel := clock.WithTimeout(ctx, min(r.remote.lease.renewTimeout(), r.guard.left()))
	defer cancel()
	mine, result := r.remote.renew(ctx, pool, r.hold, time.Duration(r.remote.lease))
	switch {
	case result.Err == nil && !mine, wire.AnsweredWith(result.Err, "WRONGTYPE"):
		r.taken()
		r.holds.drop(r.hold)
		return false
	case result.Err == nil:
		result.Err = r.guard.renewed(result.Sent)
	}
	if result.Err != nil {
		r.guard.failure(result.Err)
	}
	return result.Err == nil
}
