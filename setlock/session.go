package setlock

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/trace"
)

// A session is one Do, from its acquisition to its release. It owns the context of f: it
// makes the context and ends it. The renewer of the Pool renews the lock, and ends the
// session when trust ends.
type session struct {
	remote *remote
	holds  *holds // of the Lock
	clock  clock.Clock

	// base is the context of requests at the end of the session. It has the values of the
	// caller's context, and never ends.
	base   context.Context
	ctx    context.Context         // f's
	cancel context.CancelCauseFunc // ends ctx

	// Set by start:
	shared  *shared
	renewer *renewer
	renewal *renewal
	hold    *hold // guarded by mu; set last

	mu   sync.Mutex // guards hold and the fields below
	lost *lostError // non-nil when the lock was lost before it was released
	over bool       // f has returned
}

// sessionKey is the context key of the session, for FenceFromContext and trace.Trusted.
type sessionKey = trace.SessionKey

// newSession returns a session that holds nothing yet.
func newSession(ctx context.Context, r *remote, holds *holds) *session {
	s := &session{remote: r, holds: holds, clock: clock.FromContext(ctx), base: context.WithoutCancel(ctx)}
	s.ctx, s.cancel = context.WithCancelCause(trace.WithSession(ctx, s))
	return s
}

// start begins the session with h, the hold that was acquired. If the reply came too late for
// h to be trusted, the session begins as lost.
func (s *session) start(h *hold) {
	s.renewal = &renewal{
		remote: s.remote, hold: h, trace: trace.Of(s.base), session: s,
		trust: trust{sent: h.acquired, ttl: time.Duration(s.remote.lease)},
	}
	// Before the renewer looks: it would report that no renewal has succeeded.
	if s.renewal.left(s.clock.Now()) <= 0 {
		s.lose(errLate)
	}
	s.shared = openShared(s.remote.pool)
	s.renewer = s.shared.renew(s.clock, s.renewal)
	s.setHold(h)
}

func (s *session) setHold(h *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = h
}

// lose ends the context of f because of reason. After f has returned, lose changes nothing:
// what other calls find then may be the result of the session's own release.
func (s *session) lose(reason error) { s.loseIf(reason, false) }

// taken ends the context of f because a renewal, or the release, found that the key is not
// the session's any more. It counts even after f has returned: the session had not released
// the key before, so the key was lost.
func (s *session) taken() {
	s.loseIf(errTaken, true)
	s.holds.drop(s.acquired())
}

// loseIf ends the context of f because of reason. After f has returned, the loss counts
// only if alsoOver.
func (s *session) loseIf(reason error, alsoOver bool) {
	cause, first := s.noteLoss(reason, alsoOver)
	if first {
		go func() { // joined by end
			defer s.renewal.calls.Done()
			s.cancel(cause)
			s.renewal.trace.Lost(s.renewal.hold.fence, cause) // may block in a function of the user
		}()
	}
	// Another goroutine may have set s.lost without having cancelled ctx yet. The caller
	// may be about to release the key, so ctx must end here.
	s.cancel(cause)
	if first {
		s.renewer.remove(s.renewal)
	}
}

// noteLoss sets lost because of reason, unless the session has ended. It returns why the
// session has ended, and whether this call ended a session that had started. Then the caller
// must call Done on the calls of the renewal.
func (s *session) noteLoss(reason error, alsoOver bool) (cause error, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.lost != nil:
		return s.lost, false
	case s.over && !alsoOver:
		return context.Canceled, false
	}
	s.lost = &lostError{keys: s.remote.keys, reason: reason}
	if s.hold == nil {
		return s.lost, false
	}
	// end waits for calls. The session is not over, so end does not wait yet.
	s.renewal.calls.Add(1)
	return s.lost, true
}

// acquired returns the hold, or nil before start.
func (s *session) acquired() *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hold
}

// lostBecause returns why the lock was lost, or nil when it was not lost.
func (s *session) lostBecause() *lostError {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// trusted returns how much longer the lock may be trusted. It returns 0 when the lock is
// lost or f has returned.
func (s *session) trusted() time.Duration {
	if s.hasEnded() {
		return 0
	}
	return s.renewal.left(s.clock.Now())
}

// Trusted is trusted, for package trace.
func (s *session) Trusted() time.Duration { return s.trusted() }

// hasEnded reports whether the session holds nothing that f may still use.
func (s *session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over || s.lost != nil || s.hold == nil
}

// end ends the session after f has returned err or panicked, and returns the error of Do.
// The order is what Do promises: first the context of f ends, then no attempt to renew the
// lock begins any more, and only then the lock is released. An attempt that has begun may
// reach Redis after the release. It does nothing then, because the key has another value or
// is gone.
func (s *session) end(err error) error {
	if s.renewal.left(s.clock.Now()) <= 0 {
		s.lose(s.renewal.reason())
	}
	s.finish()
	s.cancel(context.Canceled)
	s.renewer.remove(s.renewal)
	s.release()
	s.renewal.close()
	s.shared.stopRenewer()
	s.shared.close()
	lost := s.lostBecause()
	switch {
	case lost == nil || errors.Is(err, lost):
		return err
	case err == nil:
		return lost
	}
	return errors.Join(err, lost)
}

// finish records that f has returned.
func (s *session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// release releases the lock, unless the session is known to hold it no longer. It makes two
// attempts, the second on a connection outside the Pool's limits. The Lock counts as held
// until the release: meanwhile an acquisition by the same Lock returns ErrAlreadyHeld. When
// both attempts fail, the acquisition becomes an orphan.
func (s *session) release() {
	if s.holds.current() != s.hold {
		return
	}
	mayHaveRun := false // an attempt that failed may have released the lock
	for _, pool := range []*redis.Pool{s.remote.pool, s.shared.spare} {
		attempt, cancel := clock.WithTimeout(s.base, s.remote.lease.releaseTimeout())
		released, r := s.remote.release(attempt, pool, s.hold.value)
		cancel()
		if r.Err == nil {
			if held := s.holds.drop(s.hold); held && !released && !mayHaveRun {
				s.taken()
			}
			return
		}
		mayHaveRun = mayHaveRun || r.Fate.MayHaveRun()
	}
	// A batch that waits for a connection may still send a last renewal.
	s.holds.orphan(s.hold, s.clock.Now(), time.Duration(s.remote.lease)+s.remote.lease.renewTimeout())
}
