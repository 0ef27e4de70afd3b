package setlock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/seam"
)

// A term is the time in which a Do holds the lock. It is lost at most once,
// and over at most once.
type term struct {
	lock   *Lock
	lease  lease
	clock  clock.Clock
	hold   *hold // set before start returns
	ctx    context.Context
	cancel context.CancelCauseFunc // of ctx

	hub *hub

	// The keeper runs in background until stop.
	background context.Context
	stop       context.CancelCauseFunc
	keeper     sync.WaitGroup
	renewing   chan struct{} // one slot, full during a renewal, and for good from the last one on

	mu     sync.Mutex // guards what follows
	window window
	guard  clock.Timer    // runs checkTrust
	guards sync.WaitGroup // checkTrust, when it is to run or runs
	failed error          // why the last renewal failed
	lost   *lostError
	over   bool
}

// A lostError says why a term was lost.
type lostError struct {
	lock   *Lock
	reason error
}

func (e *lostError) Error() string { return fmt.Sprintf("%v: %q: %v", ErrLost, e.lock.Key, e.reason) }

func (e *lostError) Unwrap() []error { return []error{ErrLost, e.reason} }

// newTerm returns a term that is neither lost nor trusted yet.
func newTerm(ctx context.Context, l *Lock) *term {
	t := &term{lock: l, lease: l.lease(), clock: clock.FromContext(ctx), renewing: make(chan struct{}, 1)}
	t.background, t.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	t.ctx, t.cancel = context.WithCancelCause(seam.WithTerm(ctx, t))
	return t
}

// start begins the term with what was acquired.
func (t *term) start(h *hold) {
	t.hub = openHub(t.lock.Pool)
	t.mu.Lock()
	t.hold = h
	t.window = window{trust: t.lease.trust(), sent: h.acquired}
	t.guards.Add(1)
	t.guard = t.clock.AfterFunc(t.glance(t.window.left(t.clock.Now())), t.checkTrust)
	ended := t.window.left(t.clock.Now()) <= 0
	t.mu.Unlock()
	if ended {
		t.lose(errLate)
	}
	t.keeper.Go(t.keep) // joined by end
}

// glance is how long the guard sleeps when left is left of the trust.
func (t *term) glance(left time.Duration) time.Duration {
	return min(max(left, 0), t.lease.glance())
}

// checkTrust ends the trust when its time has come. It depends on no network.
func (t *term) checkTrust() {
	defer t.guards.Done()
	t.mu.Lock()
	if t.over || t.lost != nil {
		t.mu.Unlock()
		return
	}
	left := t.window.left(t.clock.Now())
	if left > 0 {
		t.guards.Add(1)
		t.guard.Reset(t.glance(left))
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	t.lose(t.untrusted())
}

// untrusted is the reason of a loss by time.
func (t *term) untrusted() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		return fmt.Errorf("%w: %w", errUntrusted, t.failed)
	}
	return errUntrusted
}

// lose ends the context of f, unless the term is lost already, or over, when
// what anybody else finds may be our own release.
func (t *term) lose(reason error) { t.loseIf(reason, false) }

// taken is lose for the keeper, which finds nothing of a release: that waits for it.
func (t *term) taken() { t.loseIf(errTaken, true) }

func (t *term) loseIf(reason error, over bool) {
	t.mu.Lock()
	if t.over && !over || t.lost != nil {
		cause := context.Canceled
		if t.lost != nil {
			cause = t.lost
		}
		t.mu.Unlock()
		t.cancel(cause) // who was first may not have come to it, and our caller will release
		return
	}
	lost := &lostError{t.lock, reason}
	t.lost = lost
	h := t.hold
	t.mu.Unlock()
	t.cancel(lost)
	t.stop(lost)
	if h != nil {
		seam.Lost(t.background, h.fence, lost)
	}
}

// Cancel implements seam.Term.
func (t *term) Cancel(cause error) { t.cancel(cause) }

// Lost implements seam.Term.
func (t *term) Lost() error {
	if lost := t.lostBecause(); lost != nil {
		return lost
	}
	return nil
}

// lostBecause returns why the term was lost, or nil.
func (t *term) lostBecause() *lostError {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// trustedFence is the fence while the term may be believed.
func (t *term) trustedFence() int64 {
	if t.trusted() <= 0 {
		return 0
	}
	return t.hold.fence
}

// trusted returns how much longer the term may be believed: nothing if it is lost or over.
func (t *term) trusted() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over || t.lost != nil {
		return 0
	}
	return t.window.left(t.clock.Now())
}

// left returns how much of the trust is left.
func (t *term) left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.window.left(t.clock.Now())
}

// renewed notes a renewal that was sent at sent and answered now. It reports
// whether that counts.
func (t *term) renewed(sent time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	next, ok := t.window.renewed(sent, t.clock.Now())
	t.window = next
	if ok {
		t.failed = nil
	}
	return ok
}

// renewalFailed notes why, for whoever asks why the lock was lost. Of a
// failure and the end of the time for the next attempt, the failure tells more.
func (t *term) renewalFailed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil || !errors.Is(err, context.DeadlineExceeded) {
		t.failed = err
	}
}

// end ends the term after f has returned err, or panicked. The order is the
// promise: the context of f ends, nothing renews any more, the lock is
// released.
func (t *term) end(err error) error {
	if t.left() <= 0 {
		t.lose(t.untrusted())
	}
	t.mu.Lock()
	t.over = true
	if t.guard.Stop() {
		t.guards.Done()
	}
	t.mu.Unlock()
	t.cancel(context.Canceled)
	t.guards.Wait()
	t.stop(context.Canceled)
	t.renewing <- struct{}{} // none runs, and none will
	t.release()
	t.keeper.Wait()
	closeHub(t.lock.Pool)
	lost := t.lostBecause()
	switch {
	case lost == nil || errors.Is(err, lost):
		return err
	case err == nil:
		return lost
	}
	return errors.Join(err, lost)
}

// release gives the lock back unless it is known to be another's: by two
// tries, the second on a connection of its own. Until that is done the Lock holds
// it: an acquisition meanwhile is told so.
func (t *term) release() {
	l, h := t.lock, t.hold
	l.mu.Lock()
	ours := l.held == h
	l.mu.Unlock()
	if !ours {
		return
	}
	ctx := context.WithoutCancel(t.background)
	ran := false // a try that failed may have released it
	var reply int64
	var err error
	for _, pool := range []*redis.Pool{l.Pool, t.hub.spare} {
		try, cancel := clock.WithTimeout(ctx, t.lease.release())
		r := l.releasing(true, h.arg).do(try, pool)
		cancel()
		if err = r.err; err == nil {
			reply, err = notMineOr(r.reply, replyReleased)
		}
		if err == nil {
			break
		}
		ran = ran || r.fate.ran()
	}
	l.mu.Lock()
	ours = l.held == h && h.belief.unlocks == 0
	l.drop(h)
	if err != nil {
		// It may stand: the next acquisition adopts it. Its last renewal may yet arrive.
		until := later(h.belief.ends, t.clock.Now().Add(time.Duration(t.lease)).Add(lateFor))
		l.orphans = l.orphans.add(orphan{value: h.value, until: until})
	}
	l.mu.Unlock()
	if err == nil && reply == replyNotMine && ours && !ran {
		t.taken()
	}
}
