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

// A schedule says when the next renewal of a session is due, and on which kind of
// connection: one of the Pool, or one outside the Pool's limits. It is a value.
//
// The first renewal comes early, after lease.firstRenewal. It comes together with the
// subscription to announcements, because a subscription tells nothing of the time before
// it. The second renewal comes after a random part of the renewal interval that is left. So
// sessions that began together do not renew together, and neither do sessions that missed
// Redis together. Every later renewal is sent one lease.renewInterval after the one before.
// A renewal that fails is tried again after lease.retryInterval, on the other kind of
// connection, whatever the error was. Package wire has not given the connection back to the
// Pool if it answered READONLY, or another error of a server that does not serve.
type schedule struct {
	lease   lease
	steady  bool // a renewal has counted: the next is due one interval after the last
	failing bool // the last attempt failed
	outside bool // the next attempt uses a connection outside the Pool's limits
}

// failed returns the schedule after an attempt that failed, and the pause before the next
// attempt.
func (s schedule) failed() (schedule, time.Duration) {
	s.failing, s.outside = true, !s.outside
	return s, s.lease.retryInterval()
}

// counted returns the schedule after a renewal that counted, and the pause before the next
// renewal. took is the time since the request of the renewal. extra is true for a renewal
// that was not scheduled.
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
	taken  func() // ends the session because the key is no longer this session's

	running sync.WaitGroup // run
	slot    chan struct{}  // full while a renewal runs, and for ever after last
}

// start starts run, which renews the lock until ctx ends. The caller must call join.
func (r *renewer) start(ctx context.Context) { r.running.Go(func() { r.run(ctx) }) }

// last blocks until no renewal runs. After last, no renewal starts. The rest of the renewer
// may still run until join returns.
func (r *renewer) last() { r.slot <- struct{}{} }

// join blocks until nothing of the renewer runs any more.
func (r *renewer) join() { r.running.Wait() }

// run renews the lock until ctx ends. An announcement that names another holder triggers
// one extra renewal, and so does a new subscription. If the scheduled renewal falls due
// meanwhile, the extra one replaces it.
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
			continue // an extra renewal does not change the schedule
		}
		next, pause = next.counted(clock.Elapsed(sent, r.clock.Now()), extra)
		timer.Reset(pause)
	}
}

// fired reports whether timer has fired, and drains its channel.
func fired(timer clock.Timer) bool {
	select {
	case <-timer.C():
		return true
	default:
		return false
	}
}

// doubts reports whether what the subscription received leaves doubt that the session still
// holds the lock.
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

// renew makes one attempt to renew the lock, on a connection of the Pool or on one outside
// its limits. It reports whether the renewal counts. When the key is no longer this
// session's, renew ends the session.
func (r *renewer) renew(ctx context.Context, outside bool) bool {
	select {
	case r.slot <- struct{}{}:
		defer func() { <-r.slot }() // also when a traced Logger calls runtime.Goexit
	default:
		return false // last was called
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
