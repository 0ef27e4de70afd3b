package setlock

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/trace"
)

// Watch reports who holds the lock: the present Holder first, the zero Holder for
// nobody, and then every change. A hold that is renewed is no change. The zero Holder
// twice in a row means that somebody held the lock in between. The newest wins: a
// reader that is slow misses what has passed, and never receives what is not the
// latest that is known.
//
// Acquisitions and releases are announced by Redis as they happen. A holder that
// dies is noticed when its remaining time has run out, within milliseconds. What
// nobody announces is noticed within a Lease: a key that is deleted by hand, or the end
// of a hold that Renew has shortened. While announcements do not arrive, Watch polls ten
// to twenty times per Lease. This is so when the user has no right to subscribe, when the
// connection is down, and when the connections of the Pool do not implement
// [redis.ConnWithTimeout], as some wrappers do not. When announcements arrive again,
// Watch looks before it trusts silence. When Redis cannot be asked, the last Holder
// stands, and Watch tries again until it can: within a Lease of when it can.
//
// All watches on one Pool share one connection, dialled outside the limits of the Pool
// and closed with the last watch. It is checked after two minutes of silence, and by
// the first look that finds what was not announced. Without an answer within five
// seconds it is dialled anew. If it answers and still tells nothing of that change, as a
// server does that is not the primary any more, it is dialled anew too, at most once in
// ten Leases.
//
// With Replicas, Watch does not report an acquisition that may still be undone because
// the replicas have not confirmed it. Such a Holder is reported when it is announced, or
// when it still holds the lock a sixth of Lease after Watch has found it; until then
// the Holder before it stands.
//
// The channel is closed when ctx ends, or at once if the Lock has no Key or Pool
// or a field out of range.
func (l *Lock) Watch(ctx context.Context) <-chan Holder {
	out := make(chan Holder)
	if l.check("watch") != nil {
		close(out)
		return out
	}
	go l.watch(ctx, out) // ends with ctx, and says so by closing out
	return out
}

func (l *Lock) watch(ctx context.Context, out chan<- Holder) {
	defer close(out)
	c, r := clock.FromContext(ctx), l.remote()
	shared := openShared(l.Pool)
	defer shared.close()
	announcements := shared.notifier.Subscribe(ctx, r.keys.Channel)
	defer announcements.Close()

	var (
		lease   = l.lease()
		v       = view{lease: lease, replicas: l.Replicas > 0}
		pending chan<- Holder // out while v.seen is to be delivered
		pause   = backoff.NewExponentialBackOff(
			backoff.WithInitialInterval(min(50*time.Millisecond, lease.renewInterval())),
			backoff.WithMaxInterval(lease.renewInterval()),
			backoff.WithMaxElapsedTime(0),
		)
		timer = c.NewTimer(0)
	)
	defer timer.Stop()
	trace.Pushed(ctx, v.up)
	for {
		look := noReason
		select {
		case <-ctx.Done():
			return
		case pending <- v.seen.holder:
			pending = nil
			continue
		case <-announcements.Signal:
			news, mayMiss, up := announcements.Take()
			if up != v.up {
				v.pushed(up, c.Now())
				trace.Pushed(ctx, up)
			}
			if mayMiss || !up {
				v.excused()
			}
			a, ok := protocol.ParseAnnouncement(string(news))
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
			case len(news) > 0:
				look = scheduled // it says nothing
			}
		case <-timer.C():
			look = scheduled
			// A Do of this very Lock renews: it sees a loss, and what comes after is announced.
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
				v.failed(c.Now(), pause.NextBackOff())
			} else {
				pause.Reset()
				report, about := v.looked(s, look, sent, c.Now())
				if report {
					pending = out
				}
				switch about {
				case perhapsDead:
					announcements.Check()
				case perhapsMute:
					announcements.Doubt(lease.mistrust())
				}
			}
		}
		timer.Reset(v.due().Sub(c.Now()))
	}
}
