package setlock

import (
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
)

// expiryGrace is the time between the expiry of a key and the look at it, because Redis
// counts whole milliseconds.
const expiryGrace = time.Millisecond

// A view is what a watch knows of its lock: who is reported to hold it, and when the next
// look is due. A view decides. The watch acts.
type view struct {
	lease    lease
	replicas bool // the Lock has Replicas: an acquisition that was found may still be undone

	known bool        // seen is set: something was reported
	seen  observation // what was reported last

	// With replicas, an acquisition that a look found and nothing has confirmed yet:
	waiting     observation
	since       time.Time // when a look first found waiting; zero when there is none
	unannounced bool      // its announcement should have arrived before the look
	named       string    // the value of the last acquisition that was announced without continuing seen

	up       bool          // announcements arrive
	answered time.Time     // when Redis last answered a look; zero: never
	down     time.Time     // when announcements first ceased to arrive after answered
	poll     time.Duration // the pause between two looks while announcements do not arrive
	retry    time.Time     // when to look again after a look that failed; zero: the last was answered
	failing  time.Time     // when the first look that failed since then was sent
}

// A reason says why a watch looks at its lock.
type reason int

const (
	noReason  reason = iota
	scheduled        // the look was due
	announced        // an announcement does not continue what is known
	missed           // announcements may have been missed
)

// A suspicion is what a look suspects of the connection for announcements.
type suspicion int

const (
	unsuspected suspicion = iota
	perhapsDead           // it has not delivered the announcement of what was found
	perhapsMute           // it has had the time to deliver that announcement, and did not
)

// told records an announcement that came at now. It reports whether the announcement
// changes what is to be reported, and whether the announcement continues what is known. If
// it does not, a look must find out.
func (v *view) told(a protocol.Announcement, now time.Time) (report, follows bool) {
	s, waits := v.seen, !v.since.IsZero()
	switch {
	case waits && a.Acquired:
		// The announcement names the acquisition that waits. Or the one that waits was
		// undone, and the announcement names the acquisition after it.
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

// looked records the observation s of a look that was sent at sent and answered at now. It
// reports whether s changes what is to be reported, and what to suspect of the connection
// for announcements, which has not delivered s.
//
// A fence that has changed shows that the lock was acquired and released between two looks.
// With replicas this does not prove that somebody held the lock: the acquisition may have
// been undone because replicas did not confirm it, and an undo of this kind is not
// announced. Then only an announcement proves it.
func (v *view) looked(s observation, why reason, sent, now time.Time) (report bool, suspected suspicion) {
	v.answered, v.retry, v.poll = now, time.Time{}, v.lease.pollInterval()
	moved := v.known && s.fence != v.seen.fence && protocol.ParseFence(s.fence) != 0
	unannounced := moved && v.up && why == scheduled
	again := moved && s.holder.Nobody() && v.seen.holder.Nobody()
	if v.replicas {
		again = again && why == announced
		switch {
		case s.holder.Fence == 0 || v.known && s.same(v.seen) || s.value == v.named:
			unannounced = false // nobody, nothing new, or announced and so confirmed
		case v.since.IsZero() || !s.same(v.waiting):
			v.waiting, v.since, v.unannounced = s, now, unannounced
			if unannounced {
				suspected = perhapsDead
			}
			return false, suspected
		case sent.Sub(v.since) < v.lease.renewTimeout():
			v.waiting = s
			return false, unsuspected
		default:
			unannounced = v.unannounced
		}
	}
	report = !v.known || !s.same(v.seen) || again
	v.seen, v.known, v.since = s, true, time.Time{}
	if unannounced {
		suspected = perhapsMute
	}
	return report, suspected
}

// failed records that a look that was sent at sent failed at now. The next look is due after
// pause. left is how much longer the holder may be trusted if it is a Do of this Lock, else 0.
//
// failed reports whether nobody is to be reported: the remaining time of the holder has run
// out, and looks have failed for too long to tell whether the holder has renewed its lock.
func (v *view) failed(sent, now time.Time, pause, left time.Duration) (report bool) {
	if v.retry.IsZero() {
		v.failing = sent
	}
	v.retry = now.Add(pause)
	if left > 0 {
		v.seen.until = latest(v.seen.until, now.Add(left))
	}
	if v.seen.holder.Remaining <= 0 || clock.Elapsed(v.doubtful(), now) < 0 {
		return false
	}
	v.seen = observation{fence: v.seen.fence}
	return true
}

// doubtful returns from when on the holder must not be reported any more, if looks go on to
// fail.
func (v *view) doubtful() time.Time {
	return latest(v.seen.until, v.failing.Add(v.lease.doubtHolder()))
}

// pushed records whether announcements arrive from now on.
func (v *view) pushed(up bool, now time.Time) {
	if v.up && !up && !v.down.After(v.answered) {
		v.down, v.poll = now, v.lease.pollInterval()
	}
	v.up = up
}

// mayHaveMissed records that the connection may have missed announcements, so it is not
// suspected.
func (v *view) mayHaveMissed() { v.unannounced = false }

// renewed records that the holder is a Do of this Lock which is trusted for left from now
// on. Redis has answered the last renewal of this Do, which tells as much as a look.
func (v *view) renewed(left time.Duration, now time.Time) {
	v.retry = time.Time{}
	v.answered = latest(v.answered, now.Add(left-trusted(time.Duration(v.lease))))
	v.seen.until = latest(v.seen.until, now.Add(left))
}

// due returns when the next look at the lock is due. A look that failed is due again after
// its pause, or when the holder becomes doubtful if that comes first. Otherwise the earliest of
// these times counts:
//
//   - A lease after the last look that was answered, for a change that nobody announces,
//     such as a key that is deleted by hand.
//   - A much shorter time after that look, while announcements do not arrive.
//   - The end of the holder's remaining time.
//   - The time by which an acquisition that waits for its replicas must have been undone,
//     if they have not confirmed it.
//
// Only a look that is answered puts the next look off. An announcement, or a connection
// that breaks, does not.
func (v *view) due() time.Time {
	switch {
	case !v.retry.IsZero() && v.seen.holder.Remaining > 0:
		return earliest(v.retry, v.doubtful().Add(expiryGrace))
	case !v.retry.IsZero():
		return v.retry
	case v.answered.IsZero():
		return time.Time{}
	}
	due := v.answered.Add(time.Duration(v.lease) + expiryGrace) // the key of a Do that has died is gone by then
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
