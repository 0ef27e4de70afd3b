package setlock

import (
	"context"
	"time"

	"example.com/setlock/internal/clock"
)

// A DoFunc is work that needs the lock. Its context carries the fencing token, see
// [FenceFromContext]. The context ends when the lock is lost. The work must then stop.
// Another process may hold the lock a tenth of the Lease later, or already if the key was
// deleted or taken.
type DoFunc func(ctx context.Context) error

// Do acquires the lock for Lease, runs f in the calling goroutine, and releases the lock.
// While f runs, the lock is renewed at least every third of Lease, together with the locks of other
// Dos on the same Pool. When the lock is held, Do returns [ErrNotHeld] or [ErrAlreadyHeld]
// without calling f. When Do cannot acquire the lock within a third of Lease, or for another
// reason, Do returns an error that wraps the reason, without calling f.
//
// The context of f is derived from ctx. It ends when ctx ends, when f returns, or when the
// lock is lost. After a loss, [context.Cause] is an [ErrLost] with the reason. The lock is
// lost when one of these happens:
//
//   - No renewal has succeeded that was sent within the last 0.9 Lease, by the monotonic or
//     by the wall clock. The context then ends whatever the network does.
//   - The key has another value, or is gone.
//   - Unlock was called.
//
// When ctx ends, the context of f ends, and the lock is renewed until f has returned. Do
// never releases the lock before f has returned. The release does not depend on ctx and
// takes no longer than a sixth of Lease. If Redis cannot be reached during the release, the
// key expires.
//
// Do returns the error of f, joined with an ErrLost if the lock was lost before f returned.
// If f panics or calls [runtime.Goexit], the lock is released and the panic or the Goexit
// propagates.
//
// When Do returns, nothing that it started still runs, even where ctx never ends, because
// every request is bounded by a part of Lease. There are four exceptions. The renewer of a
// Pool and the connection for announcements end with the last Do or Watch that needs them.
// A helper that is stuck in the Pool's Dial or TestOnBorrow ends when that function
// returns, and does nothing more. A helper that undoes an acquisition, because ctx or the
// third of Lease has ended, runs for at most two seconds. A helper in a connection that
// cannot be interrupted, see Lock.Pool, remains until Redis answers or the connection
// breaks.
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
		s.cancel(nil)
		return err
	}
	s.start(h)
	if lost := s.lostBecause(); lost != nil {
		// The reply came too late to be trusted, or a call of Unlock has released the lock
		// already.
		s.end(nil)
		return l.fail(op, lost.reason)
	}
	// Deferred, because f may panic or call Goexit. A panic is not recovered.
	defer func() { err = s.end(err) }()
	return f(s.ctx)
}

// FenceFromContext returns the fencing token of the hold under which the function of a
// [Lock.Do] runs. ctx must be the context of this function, or a context derived from it.
// For any other context FenceFromContext returns 0 and false. The token stays the same even
// after the lock was lost. A resource that checks tokens refuses it from the moment when
// the token of a later hold has arrived there.
func FenceFromContext(ctx context.Context) (int64, bool) {
	s, ok := ctx.Value(sessionKey{}).(*session)
	if !ok {
		return 0, false
	}
	return s.hold.fence, true
}
