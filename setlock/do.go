package setlock

import (
	"context"
	"time"

	"example.com/setlock/internal/clock"
)

// A DoFunc is work that needs the lock. Its context carries the fencing token, see
// [FenceFromContext], and ends when the lock is lost: the work must stop then,
// for another may hold the lock a tenth of the Lease later.
type DoFunc func(ctx context.Context) error

// Do acquires the lock for Lease, runs f in the calling goroutine while another
// renews the lock every third of Lease, and releases it. When the lock is held,
// Do returns [ErrNotHeld] or [ErrAlreadyHeld] without calling f; when it cannot be
// acquired within a third of Lease, or for another reason, an error that wraps that.
//
// The context of f is derived from ctx. It ends when ctx ends, when f returns, or
// when the lock is lost: no renewal has succeeded that was sent within the last
// 0.9 Lease, by the monotonic or by the wall clock, whatever the network does;
// the key is another's or gone; or Unlock was called. [context.Cause] is then an
// [ErrLost] with the reason.
//
// When ctx ends, f is told, and the lock is renewed until f has returned; it is
// never released before. The release does not depend on ctx and takes no longer
// than a sixth of Lease; if Redis cannot be reached then, the key expires.
//
// Do returns the error of f, joined with an ErrLost if the lock was lost before
// f returned. If f panics or calls [runtime.Goexit], the lock is released and
// that goes on. When Do returns, nothing of it is left running, with two exceptions, also
// where ctx never ends, because every request is bounded by a part of Lease. A helper
// that is stuck in the Pool's Dial or TestOnBorrow ends with that and does nothing any
// more. A helper that undoes an acquisition which ctx, or the third of Lease, has
// interrupted runs for at most two seconds.
func (l *Lock) Do(ctx context.Context, f DoFunc) (err error) {
	const op = "do"
	if err := l.check(op); err != nil {
		return err
	}
	if f == nil {
		return l.fail(op, invalidError("no function"))
	}
	s := newSession(ctx, l.remote(), &l.holds)
	bounded, cancel := clock.WithTimeout(ctx, s.remote.lease.acquireTimeout())
	h, _, err := l.acquire(bounded, op, time.Duration(s.remote.lease), s)
	cancel()
	if err != nil {
		s.discard()
		return err
	}
	s.start(h)
	if lost := s.lostBecause(); lost != nil {
		// The reply came too late to be trusted, or Unlock was quicker.
		s.end(nil)
		return l.fail(op, lost.reason)
	}
	// Deferred, because f may panic. Nothing is recovered.
	defer func() { err = s.end(err) }()
	return f(s.ctx)
}

// FenceFromContext returns the fencing token of the hold under which the function
// of a [Lock.Do] runs, given its context or one derived from it; false for any
// other context. It is this hold's token even after the lock was lost: whoever
// checks it refuses it from the moment when another's has come.
func FenceFromContext(ctx context.Context) (int64, bool) {
	s, ok := ctx.Value(sessionKey{}).(*session)
	if !ok {
		return 0, false
	}
	return s.hold.fence, true
}
