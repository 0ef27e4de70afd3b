// Package trace reports what happens in the layers below to the caller that asked for it through
// the context, as net/http/httptrace does.
package trace

import (
	"context"
	"time"
)

// A Trace is a set of functions that are called when something happens. Any of them may be
// nil. They are called from several goroutines, even at the same time, and must not block.
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

var none Trace

// NewContext returns a context derived from ctx. t traces the calls under this context.
func NewContext(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, key{}, t)
}

// Without returns ctx, or a context derived from ctx. Nothing traces the calls under this
// context.
func Without(ctx context.Context) context.Context {
	if from(ctx) == &none {
		return ctx
	}
	return NewContext(ctx, nil)
}

// Only returns a context that has the Trace of ctx and nothing else of ctx.
func Only(ctx context.Context) context.Context {
	if t := from(ctx); t != &none {
		return NewContext(context.Background(), t)
	}
	return context.Background()
}

// On reports whether ctx carries a Trace.
func On(ctx context.Context) bool { return from(ctx) != &none }

// from returns the Trace that ctx carries, or an empty one.
func from(ctx context.Context) *Trace {
	if t, _ := ctx.Value(key{}).(*Trace); t != nil {
		return t
	}
	return &none
}

// Called calls Called of the Trace that ctx carries, if there is one.
func Called(ctx context.Context, at time.Time, err error) {
	if f := from(ctx).Called; f != nil {
		f(at, err)
	}
}

// Renewed calls Renewed of the Trace that ctx carries, if there is one.
func Renewed(ctx context.Context, took time.Duration, err error) {
	if f := from(ctx).Renewed; f != nil {
		f(took, err)
	}
}

// Looked calls Looked of the Trace that ctx carries, if there is one.
func Looked(ctx context.Context, held, endless bool) {
	if f := from(ctx).Looked; f != nil {
		f(held, endless)
	}
}

// Lost calls Lost of the Trace that ctx carries, if there is one.
func Lost(ctx context.Context, fence int64, err error) {
	if f := from(ctx).Lost; f != nil {
		f(fence, err)
	}
}

// Pushed calls Pushed of the Trace that ctx carries, if there is one.
func Pushed(ctx context.Context, up bool) {
	if f := from(ctx).Pushed; f != nil {
		f(up)
	}
}

// SessionKey is the key of the session in the context of the function of a Do.
type SessionKey struct{}

// A Session is what this context has under SessionKey.
type Session interface {
	// Trusted returns how much longer the lock of the Do may be trusted.
	Trusted() time.Duration
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
