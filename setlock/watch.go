package setlock

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/trace"
)

// Watch returns a channel that receives who holds the lock: the present Holder first, then
// every change. The zero Holder means that nobody is known to hold the lock. The zero Holder twice in
// a row means that somebody held the lock in between. A renewal is no change. The newest
// Holder wins: a slow reader misses the Holders that have passed, and never receives a
// Holder that is not the latest known.
//
// Redis announces acquisitions and releases as they happen. When a holder dies, Watch
// notices it within milliseconds after the remaining time has run out. A change that nobody
// announces is noticed within a Lease. Examples are a key that is deleted by hand, and the
// end of a hold that Renew has shortened. While announcements do not arrive, Watch polls
// ten to twenty times per Lease. They do not arrive when the user has no right to
// subscribe, when the connection is down, and when the connections of the Pool do not
// implement [redis.ConnWithTimeout], as some wrappers do not. When announcements arrive
// again, Watch looks at the key before it trusts silence.
//
// While Redis cannot be asked, Watch tries again. It keeps the last Holder until the remaining
// time of the key, as last seen, has run out. At most a quarter of Lease later it reports nobody,
// although the Holder may still renew the lock. When Redis can answer again, Watch asks
// successfully at most a Lease later, and reports who holds the lock.
//
// All watches and running Dos on one Pool share one connection for announcements. It is
// dialled outside the limits of the Pool, and closed with the last of them. It is checked
// after two minutes of silence, and when a look finds a change that was not announced. When
// the connection does not answer within five seconds, it is dialled anew. When it answers
// but still does not deliver that change, it is dialled anew too, at most once in ten
// Leases. A server that is not the primary any more behaves like this.
//
// With Replicas, Watch does not report at once an acquisition that a look has found,
// because it may be undone. Watch reports it when it is announced, which proves that the
// replicas have confirmed it. Without an announcement, Watch reports it when it still holds
// the lock a sixth of Lease after Watch has found it. This is no proof. Until then Watch
// keeps the Holder before it. So the first Holder, and a change that nobody announces, come
// up to a sixth of Lease later.
//
// The channel is closed when ctx ends. It is closed at once if the Lock is invalid, see
// [ErrInvalid].
func (l *Lock) Watch(ctx context.Context) <-chan Holder {
	out := make(chan Holder)
	if l.check("watch") != nil {
		close(out)
		return out
	}
	go l.watch(ctx, out, 0) // ends when ctx ends, and then closes out
	return out
}

// watch sends to out what v decides to report, until ctx ends. It is one loop. An
// announcement, the timer and the result of a look change v. An announcement or the timer
// may also be a reason for a look. After each step, v says when the next look is due. The first
// look is due when announcements arrive, or when patience has passed.
func (l *Lock) watch(ctx context.Context, out chan<- Holder, patience time.Duration) {
	defer close(out)
	c, tracer, r := clock.FromContext(ctx), trace.Of(ctx), l.remote()
	shared := openShared(l.Pool)
	defer shared.close()
	heard := newSignal()
	announcements := shared.notifier.Subscribe(ctx, r.keys.Channel, heard.set)
	defer announcements.Close()

	var (
		lease   = l.lease()
		v       = view{lease: lease, replicas: l.Replicas > 0}
		pending chan<- Holder // out while v.seen has to be delivered, else nil
		pause   = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(min(50*time.Millisecond, lease.renewInterval())),
			backoff.WithMaxInterval(lease.renewInterval()),
			backoff.WithMaxElapsedTime(0),
		)
		timer = c.NewTimer(patience)
	)
	defer timer.Stop()
	tracer.Pushed(v.up)
	for {
		look := noReason
		select {
		case <-ctx.Done():
			return
		case pending <- v.seen.holder:
			pending = nil
			continue
		case <-heard:
			message, mayMiss, up := announcements.Take()
			if up != v.up {
				v.pushed(up, c.Now())
				tracer.Pushed(up)
			}
			if mayMiss || !up {
				v.mayHaveMissed()
			}
			a, ok := protocol.ParseAnnouncement(string(message))
			switch {
			case mayMiss:
				look = missed
			case ok:
				report, follows := v.told(a, c.Now())
				if report {
					pending = out
				}
				if !follows {
					look = announced
				}
			case len(message) > 0:
				look = scheduled // not an announcement, but a reason to look
			}
		case <-timer.C():
			look = scheduled
			// A Do of this Lock renews the key. The Do notices a loss, and the acquisition
			// after the loss is announced. So no look is needed.
			if left := l.holds.trusted(v.seen.value); v.up && left > 0 && v.since.IsZero() {
				v.renewed(left, c.Now())
				look = noReason
			}
		}
		if look != noReason {
			attempt, cancel := clock.WithTimeout(ctx, lease.renewTimeout())
			sent := c.Now()
			s, err := r.observe(attempt)
			cancel()
			if err != nil {
				if v.failed(sent, c.Now(), pause.NextBackOff(), l.holds.trusted(v.seen.value)) {
					pending = out
				}
			} else {
				pause.Reset()
				report, suspected := v.looked(s, look, sent, c.Now())
				tracer.Looked(!s.holder.Nobody() && s.same(v.seen), s.holder.Remaining < 0)
				if report {
					pending = out
				}
				switch suspected {
				case perhapsDead:
					announcements.Check()
				case perhapsMute:
					announcements.Doubt(lease.doubtInterval())
				}
			}
		}
		timer.Reset(v.due().Sub(c.Now()))
	}
}
