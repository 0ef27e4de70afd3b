// Package trace tells whoever asked, through the context, what happens in the
// layers below, as net/http/httptrace does.
package trace

import (
	"context"
	"time"
)

// A Trace is a set of functions that are called as something happens. Any of them may
// be nil. They are called from several goroutines, and must not block.
type Trace struct {
	// Called is called when a call to Redis has ended: with nil when Redis has
	// answered as a server that works does, whatever the answer was.
	Called func(at time.Time, err error)

	// Lost is called when the hold with this fence has been lost, with the reason: while
	// the function of its Do runs, or a little later.
	Lost func(fence int64, err error)

	// Pushed is called by a Watch, at first and whenever that changes, with
	// whether announcements reach it.
	Pushed func(up bool)
}

type key struct{}

var none Trace

// NewContext returns a context derived from ctx for calls that t traces.
func NewContext(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, key{}, t)
}

// Without returns ctx, or a context derived from it, for calls that nothing traces.
func Without(ctx context.Context) context.Context {
	if from(ctx) == &none {
		return ctx
	}
	return NewContext(ctx, nil)
}

// from returns the Trace of ctx.
func from(ctx context.Context) *Trace {
	if t, _ := ctx.Value(key{}).(*Trace); t != nil {
		return t
	}
	return &none
}

// Called tells the Trace of ctx.
func Called(ctx context.Context, at time.Time, err error) {
	if f := from(ctx).Called; f != nil {
		f(at, err)
	}
}

// Lost tells the Trace of ctx.
func Lost(ctx context.Context, fence int64, err error) {
	if f := from(ctx).Lost; f != nil {
		f(fence, err)
	}
}

// Pushed tells the Trace of ctx.
func Pushed(ctx context.Context, up bool) {
	if f := from(ctx).Pushed; f != nil {
		f(up)
	}
}
