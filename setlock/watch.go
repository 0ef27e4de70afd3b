package setlock

import (
	"context"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/seam"
)

// expiryGrace is how long after its expiry a key is looked at: Redis counts
// whole milliseconds.
const expiryGrace = time.Millisecond

// Watch reports who holds the lock: the present Holder first, the zero Holder for
// nobody, and then every change. A hold that is renewed is no change. The newest
// wins: a reader that is slow misses what has passed, and never receives what is
// not the latest that is known.
//
// Acquisitions and releases are announced by Redis as they happen. A holder that
// dies is noticed when its remaining time has run out, within milliseconds, and what
// nobody announces, such as a key that is deleted by hand, within a Lease. While
// announcements do not arrive, because the user has no right to subscribe or the
// connection is down, Watch polls ten to twenty times per Lease; when they do
// again, it looks before it trusts silence. When Redis cannot be asked, the last
// Holder stands, and Watch tries again until it can: within a Lease of when it can.
//
// All watches on one Pool share one connection, dialled outside the limits of the Pool
// and closed with the last watch. It is checked after two minutes of silence, and by
// the first look that finds what was not announced. Without an answer within five
// seconds it is dialled anew. If it answers and still tells nothing of that change, as a
// server does that is not the primary any more, it is dialled anew too, at most once in
// ten Leases.
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
	now := clock.FromContext(ctx)
	hub := openHub(l.Pool)
	defer closeHub(l.Pool)
	announced := hub.subscribe(ctx, l.Pool, l.redisNames().topic)
	defer announced.close()

	var (
		lease   = l.lease()
		seen    sighting
		known   bool          // seen is set
		pending chan<- Holder // out while seen is to be delivered
		up      bool          // announcements arrive
		pause   = newBackOff(lease.renewEvery())
		timer   = now.NewTimer(0)
	)
	defer timer.Stop()
	seam.Pushed(ctx, up)
	see := func(s sighting) {
		if !known || s.value != seen.value || s.holder.Fence != seen.holder.Fence {
			pending = out
		}
		seen, known = s, true
	}
	for {
		look, due := false, false
		select {
		case <-ctx.Done():
			return
		case pending <- seen.holder:
			pending = nil
			continue
		case <-announced.signal:
			var news []byte
			was := up
			news, look, up = announced.take()
			if up != was {
				seam.Pushed(ctx, up)
			}
			if a, ok := parseAnnouncement(string(news)); ok && known && !look {
				s, follows := seen.follows(a, now.Now())
				see(s)
				look = !follows
			} else {
				look = look || len(news) > 0
			}
		case <-timer.C():
			// A Do of this very Lock renews: it sees a loss, and what comes after is announced.
			if left := l.termLeft(seen.value); up && left > 0 {
				timer.Reset(left + expiryGrace)
				continue
			}
			look, due = true, true
		}
		if look {
			attempt, cancel := clock.WithTimeout(ctx, lease.attempt())
			s, err := l.look(attempt)
			cancel()
			if err != nil {
				timer.Reset(pause.NextBackOff())
				continue
			}
			pause.Reset()
			if known && up && due && s.fence != seen.fence && parseFence(s.fence) != 0 {
				announced.doubt(lease.mistrust()) // nobody told us
			}
			see(s)
		}
		timer.Reset(l.lookAgain(seen, up, now.Now()))
	}
}

// lookAgain returns when to look at the lock without being told to: when the
// holder's time has run out; once a lease for what nobody announces, such as a key
// that is deleted by hand; more often if nothing is announced.
func (l *Lock) lookAgain(s sighting, up bool, now time.Time) time.Duration {
	lease := l.lease()
	pause := time.Duration(lease) + expiryGrace // what a Do has left at most
	if !up {
		pause = lease.poll()
	}
	if s.holder.Nobody() || s.holder.Remaining < 0 {
		return pause
	}
	return min(pause, s.until.Add(expiryGrace).Sub(now))
}
