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

// A session is one Do, from its acquisition to its release. It owns the context of
// f and its end. The guard watches over the trust in the lock, the renewer renews it.
type session struct {
	remote remote
	holds  *holds // of the Lock
	clock  clock.Clock

	ctx    context.Context         // of f
	cancel context.CancelCauseFunc // of ctx

	// The renewer runs in background until stop.
	background context.Context
	stop       context.CancelCauseFunc

	// Of what was acquired, set by start:
	hold    *hold // guarded by mu
	shared  *shared
	guard   *guard
	renewer *renewer

	mu   sync.Mutex // guards what follows
	lost *lostError // non-nil: the lock was lost before it was released
	over bool       // f has returned
}

type sessionKey struct{}

// newSession returns a session that holds nothing yet.
func newSession(ctx context.Context, r remote, holds *holds) *session {
	s := &session{remote: r, holds: holds, clock: clock.FromContext(ctx)}
	s.background, s.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	// What other Locks do under f's context is not for the trace of this one.
	s.ctx, s.cancel = context.WithCancelCause(context.WithValue(trace.Without(ctx), sessionKey{}, s))
	return s
}

// discard ends a session that has acquired nothing.
func (s *session) discard() {
	s.cancel(nil)
	s.stop(nil)
}

// start begins the session with what was acquired.
func (s *session) start(h *hold) {
	s.shared = openShared(s.remote.pool)
	s.guard = newGuard(s.clock, trust{sent: h.acquired, ttl: time.Duration(s.remote.lease)}, s.lose)
	s.renewer = &renewer{
		remote: s.remote, holds: s.holds, hold: h, clock: s.clock, shared: s.shared,
		guard: s.guard, taken: s.taken, slot: make(chan struct{}, 1),
	}
	s.mu.Lock()
	s.hold = h
	s.mu.Unlock()
	if s.guard.left() <= 0 {
		s.lose(errLate)
	}
	s.guard.start()
	s.renewer.start(s.background)
}

// lose ends the context of f because of reason. It implements work. After f has returned it
// changes nothing: what others find then may be the release.
func (s *session) lose(reason error) { s.loseIf(reason, false) }

// taken ends the context of f because a renewal, or the release, found the key to be
// another's. It counts also after f has returned, because the release had not run before.
func (s *session) taken() { s.loseIf(errTaken, true) }

func (s *session) loseIf(reason error, alsoOver bool) {
	cause, first := s.noteLoss(reason, alsoOver)
	// Another goroutine may have noted the loss without having cancelled ctx yet. The
	// caller may be about to release the key, so ctx must end here.
	s.cancel(cause)
	if !first {
		return
	}
	s.stop(cause)
	if h := s.acquired(); h != nil {
		trace.Lost(s.background, h.fence, cause)
	}
}

// noteLoss notes a loss because of reason, unless the session has ended. It returns why it has ended,
// and whether this call has ended it.
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
	return s.lost, true
}

// acquired returns the hold, or nil before start.
func (s *session) acquired() *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hold
}

// lostBecause returns why the lock was lost, or nil.
func (s *session) lostBecause() *lostError {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// trusted returns for how much longer the lock may be trusted: not at all when it is lost, or
// f has returned. It implements work.
func (s *session) trusted() time.Duration {
	if s.hasEnded() {
		return 0
	}
	return s.guard.left()
}

func (s *session) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over || s.lost != nil || s.hold == nil
}

// end ends the session after f has returned err, or panicked. The order is the promise: the
// context of f ends, nothing renews any more, and only then is the lock released.
func (s *session) end(err error) error {
	if s.guard.left() <= 0 {
		s.lose(s.guard.reason())
	}
	s.finish()
	s.cancel(context.Canceled)
	s.guard.stop()
	s.stop(context.Canceled)
	s.renewer.last()
	s.release()
	s.renewer.join()
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

// finish notes that f has returned.
func (s *session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}

// release releases the lock unless it is known to be another's: by two tries, the second
// on a connection outside the Pool. Until it is released the Lock holds it: an acquisition
// meanwhile returns ErrAlreadyHeld.
func (s *session) release() {
	if s.holds.current() != s.hold {
		return
	}
	ctx := context.WithoutCancel(s.background)
	mayHaveRun := false // a try that failed may have released the lock
	for _, pool := range []*redis.Pool{s.remote.pool, s.shared.spare} {
		try, cancel := clock.WithTimeout(ctx, s.remote.lease.releaseTimeout())
		released, r := s.remote.release(try, pool, s.hold.value)
		cancel()
		if r.Err == nil {
			if held := s.holds.drop(s.hold); held && !released && !mayHaveRun {
				s.taken()
			}
			return
		}
		mayHaveRun = mayHaveRun || r.Fate.MayHaveRun()
	}
	s.holds.orphan(s.hold, s.clock.Now(), time.Duration(s.remote.lease))
}
