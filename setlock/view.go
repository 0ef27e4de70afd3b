package setlock

import (
	"time"

	"example.com/setlock/internal/protocol"
)

// expiryGrace is how long after its expiry a key is looked at: Redis counts
// whole milliseconds.
const expiryGrace = time.Millisecond

// A view is what a watch knows of its lock: who is reported to hold it, and when the
// next look is due. It decides, and leaves what is to be done to the watch.
type view struct {
	lease    lease
	replicas bool // an acquisition may be undone because replicas have not confirmed it

	known bool        // seen is set
	seen  observation // what is reported

	// With replicas: whom a look has found and nothing has confirmed yet.
	waiting observation
	since   time.Time // when a look first found waiting; zero: there is none
	untold  bool      // it should have been announced by then
	named   string    // the value of an acquisition that was announced, and that a look must find

	up       bool          // announcements arrive
	answered time.Time     // when Redis last answered a look; zero: it never has
	down     time.Time     // when announcements ceased to arrive, for the first time since then
	poll     time.Duration // the pause between two looks while they do not arrive
	retry    time.Time     // when to look again after a look that failed; zero: it was answered
}

// A reason is why a watch looks at its lock.
type reason int

const (
	noReason  reason = iota
	scheduled        // it was due
	announced        // an announcement does not continue what is known
	missed           // announcements may have been missed
)

// A suspicion is what a look gives reason to think of the connection for announcements.
type suspicion int

const (
	unsuspected suspicion = iota
	perhapsDead           // it has yet to tell what was found
	perhapsMute           // it should have told what was found, even if it answers
)

// told notes an announcement that came at now. It reports whether that changes what is
// to be reported, and whether it continues what is known: if not, a look must tell.
func (v *view) told(a protocol.Announcement, now time.Time) (report, follows bool) {
	s, waits := v.seen, !v.since.IsZero()
	switch {
	case waits && a.Acquired:
		// It names the one that waits, or the one that acquired after that was undone.
		s, follows = v.waiting.follows(a, now)
	case v.known:
		s, follows = v.seen.follows(a, now)
	}
	if !follows {
		if a.Acquired {
			v.named = a.Value
		}
		return false, false
	}
	if a.Acquired {
		v.since = time.Time{}
	}
	report = !v.known || !s.same(v.seen)
	v.seen, v.known = s, true
	return report, true
}

// looked notes what a look found that was sent at sent and answered at now. It reports
// whether that changes what is to be reported, and what to think of the connection that
// has not told of it.
//
// The fence tells of acquisitions that came and went unseen. With replicas they may have
// been undone for want of confirmation, which is not announced. Then only an
// announcement proves that somebody held the lock.
func (v *view) looked(s observation, why reason, sent, now time.Time) (report bool, about suspicion) {
	v.answered, v.retry, v.poll = now, time.Time{}, v.lease.pollInterval()
	moved := v.known && s.fence != v.seen.fence && protocol.ParseFence(s.fence) != 0
	untold := moved && v.up && why == scheduled
	again := moved && s.holder.Nobody() && v.seen.holder.Nobody()
	if v.replicas {
		again = again && why == announced
		switch {
		case s.holder.Fence == 0 || v.known && s.same(v.seen) || s.value == v.named:
			untold = false // nobody, nothing new, or announced, and so confirmed
		case v.since.IsZero() || !s.same(v.waiting):
			v.waiting, v.since, v.untold = s, now, untold
			if untold {
				about = perhapsDead
			}
			return false, about
		case sent.Sub(v.since) < v.lease.renewTimeout():
			v.waiting = s
			return false, unsuspected
		default:
			untold = v.untold
		}
	}
	report = !v.known || !s.same(v.seen) || again
	v.seen, v.known, v.since = s, true, time.Time{}
	if untold {
		about = perhapsMute
	}
	return report, about
}

// failed notes that a look failed at now, and is to be tried again after pause.
func (v *view) failed(now time.Time, pause time.Duration) { v.retry = now.Add(pause) }

// pushed notes whether announcements arrive from now on.
func (v *view) pushed(up bool, now time.Time) {
	if v.up && !up && !v.down.After(v.answered) {
		v.down, v.poll = now, v.lease.pollInterval()
	}
	v.up = up
}

// excused notes that announcements may have been missed.
func (v *view) excused() { v.untold = false }

// renewed notes that the holder is a Do of this very Lock that is trusted for left from
// now on: Redis has answered its last renewal, which is as good as a look.
func (v *view) renewed(left time.Duration, now time.Time) {
	v.retry = time.Time{}
	v.answered = latest(v.answered, now.Add(left-trusted(time.Duration(v.lease))))
	v.seen.until = latest(v.seen.until, now.Add(left))
}

// due returns when to look at the lock without being told to: at most a lease after the
// last look that was answered, for what nobody announces, such as a key that is deleted
// by hand, and much sooner while announcements do not arrive; when the holder's time has
// run out; and when who waits for its replicas must have been undone if they have not
// confirmed it. Nothing that is heard, and no connection that breaks, puts it off.
func (v *view) due() time.Time {
	switch {
	case !v.retry.IsZero():
		return v.retry
	case v.answered.IsZero():
		return time.Time{}
	}
	due := v.answered.Add(time.Duration(v.lease) + expiryGrace) // what a Do has left at most
	if !v.up {
		due = earliest(due, latest(v.answered, v.down).Add(v.poll))
	}
	holder := v.seen
	if !v.since.IsZero() {
		holder = v.waiting
		due = earliest(due, v.since.Add(v.lease.renewTimeout()))
	}
	if holder.holder.Remaining > 0 {
		due = earliest(due, holder.until.Add(expiryGrace))
	}
	return due
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
