package setlock

import "time"

// expiryGrace is how long after its expiry a key is looked at: Redis counts
// whole milliseconds.
const expiryGrace = time.Millisecond

// A view is what a watch knows of its lock: who is reported to hold it, and when the
// next look is due. It decides, and leaves what is to be done to the watch.
type view struct {
	lease lease

	known bool     // seen is set
	seen  sighting // what is reported

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

// told notes an announcement that came at now. It reports whether that changes what is
// to be reported, and whether it continues what is known: if not, a look must tell.
func (v *view) told(a announcement, now time.Time) (report, follows bool) {
	if !v.known {
		return false, false
	}
	s, follows := v.seen.follows(a, now)
	report = !s.same(v.seen)
	v.seen = s
	return report, follows
}

// looked notes what a look found that was answered at now. It reports whether that
// changes what is to be reported, and whether announcements should have told of it and
// did not. The fence tells of acquisitions that came and went unseen.
func (v *view) looked(s sighting, why reason, now time.Time) (report, untold bool) {
	v.answered, v.retry, v.poll = now, time.Time{}, v.lease.poll()
	moved := v.known && s.fence != v.seen.fence && parseFence(s.fence) != 0
	again := moved && s.holder.Nobody() && v.seen.holder.Nobody()
	report = !v.known || !s.same(v.seen) || again
	v.seen, v.known = s, true
	return report, moved && v.up && why == scheduled
}

// failed notes that a look failed at now, and is to be tried again after pause.
func (v *view) failed(now time.Time, pause time.Duration) { v.retry = now.Add(pause) }

// pushed notes whether announcements arrive from now on.
func (v *view) pushed(up bool, now time.Time) {
	if v.up && !up && !v.down.After(v.answered) {
		v.down, v.poll = now, v.lease.poll()
	}
	v.up = up
}

// renewed notes that the holder is a Do of this very Lock that is trusted for left from
// now on: Redis has answered its last renewal, which is as good as a look.
func (v *view) renewed(left time.Duration, now time.Time) {
	v.retry = time.Time{}
	v.answered = latest(v.answered, now.Add(left-v.lease.trust()))
	v.seen.until = latest(v.seen.until, now.Add(left))
}

// due returns when to look at the lock without being told to: at most a lease after the
// last look that was answered, for what nobody announces, such as a key that is deleted
// by hand, and much sooner while announcements do not arrive; and when the holder's time
// has run out. Nothing that is heard, and no connection that breaks, puts it off.
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
	if v.seen.holder.Remaining > 0 {
		due = earliest(due, v.seen.until.Add(expiryGrace))
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
