// Package trace reports what happens in the layers below to the caller that asked for it through
// the context, as net/http/httptrace does.
package trace

import (
	"context"
	"time"
)

// A Trace is a set of functions that are called when something happens. NewContext replaces
// those that are nil by functions that do nothing. The functions are called from several
// goroutines, even at the same time, and must not block.
type Trace struct {
	// Called is called when a call to Redis has ended. err is nil when Redis has answered
	// as a server that works does, whatever the answer was.
	Called func(at time.Time, err error)

	// Renewed is called when an attempt to renew the lock of a Do has ended. err is nil when
	// the renewal counts. Then took is its round trip.
	Renewed func(took time.Duration, err error)

	// Looked is called by a Watch when Redis has answered a look at the lock. held reports
	// whether the Holder that the Watch reports holds the lock. endless reports whether the
	// lock key has no expiry.
	Looked func(held, endless bool)

	// Lost is called when the hold with this fence has been lost, with the reason. The
	// function of the Do may still run then, or may have returned a little before.
	Lost func(fence int64, err error)

	// Pushed is called by a Watch when it starts, and whenever up changes. up reports
	// whether announcements reach the Watch.
	Pushed func(up bool)
}

type key struct{}

// none is the Trace of a context that carries none.
var none = new(Trace).fill()

// fill sets the functions of t that are nil, and returns t.
func (t *Trace) fill() *Trace {
	if t.Called == nil {
		t.Called = func(time.Time, error) {}
	}
	if t.Renewed == nil {
		t.Renewed = func(time.Duration, error) {}
	}
	if t.Looked == nil {
		t.Looked = func(bool, bool) {}
	}
	if t.Lost == nil {
		t.Lost = func(int64, error) {}
	}
	if t.Pushed == nil {
		t.Pushed = func(bool) {}
	}
	return t
}

// NewContext returns a context derived from ctx. t traces the calls under this context. t must
// not be changed after that.
func NewContext(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, key{}, t.fill())
}

// Of returns the Trace that ctx carries, or one whose functions do nothing.
func Of(ctx context.Context) *Trace {
	if t, ok := ctx.Value(key{}).(*Trace); ok {
		return t
	}
	return none
}

// On reports whether t is the Trace of a context that carries one.
func (t *Trace) On() bool { return t != none }

// SessionKey is the key of the session in the context of the function of a Do.
type SessionKey struct{}

// A Session is what this context has under SessionKey.
type Session interface {
	// Trusted returns how much longer the lock of the Do may be trusted.
	Trusted() time.Duration
}

// WithSession returns a context derived from ctx that has s under SessionKey. Nothing traces the
// calls under this context, because they may be calls of other Locks.
func WithSession(ctx context.Context, s Session) context.Context { return sessionContext{ctx, s} }

// A sessionContext replaces two contexts of context.WithValue, because each Do has one.
type sessionContext struct {
	context.Context
	session Session
}

// Value implements [context.Context].
func (c sessionContext) Value(k any) any {
	switch k.(type) {
	case SessionKey:
		return c.session
	case key:
		return none
	}
	return c.Context.Value(k)
}

// Trusted returns how much longer the lock of a Do may be trusted. ctx is the context of its
// function, or is derived from it. Trusted returns 0 when the lock is lost or the function has
// returned.
func Trusted(ctx context.Context) time.Duration {
	if s, ok := ctx.Value(SessionKey{}).(Session); ok {
		return max(s.Trusted(), 0)
	}
	return 0
}
