// Package seam is what the election knows of the lock beyond its exported API.
package seam

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"
)

// DefaultLease is the Lease of a Lock that names none.
const DefaultLease = 15 * time.Second

// ErrMisuse marks an error of package setlock that no retry mends: a Lock
// without a Key or a Pool, a Lease or a Replicas out of range.
var ErrMisuse = errors.New("misuse")

// An Observer is told what happens to a Lock. It is called from several
// goroutines.
type Observer interface {
	// Exchanged is told how an exchange with Redis ended, and when: nil when
	// Redis answered as a working server does, whatever the answer was.
	Exchanged(at time.Time, err error)
	// Lost is told why the hold with this fence was lost, while the function of
	// its Do runs, or a little later.
	Lost(fence int64, err error)
	// Pushed is told by a Watch whether announcements reach it: at first, and whenever
	// that changes.
	Pushed(up bool)
}

type observerKey struct{}

// WithObserver returns a context derived from ctx for calls that o observes.
func WithObserver(ctx context.Context, o Observer) context.Context {
	return context.WithValue(ctx, observerKey{}, o)
}

// Exchanged tells the Observer of ctx, if there is one.
func Exchanged(ctx context.Context, at time.Time, err error) {
	if o, ok := ctx.Value(observerKey{}).(Observer); ok {
		o.Exchanged(at, err)
	}
}

// Lost tells the Observer of ctx, if there is one.
func Lost(ctx context.Context, fence int64, err error) {
	if o, ok := ctx.Value(observerKey{}).(Observer); ok {
		o.Lost(fence, err)
	}
}

// Pushed tells the Observer of ctx, if there is one.
func Pushed(ctx context.Context, up bool) {
	if o, ok := ctx.Value(observerKey{}).(Observer); ok {
		o.Pushed(up)
	}
}

// A Term is a Do while its function runs.
type Term interface {
	// Cancel ends the context of the function, and nothing else.
	Cancel(cause error)
	// Lost returns why the lock was lost, or nil.
	Lost() error
}

// WithTerm returns a context derived from ctx for the function of the Do that t is.
// It hides the Observer: other Locks that the function uses are none of its business.
func WithTerm(ctx context.Context, t Term) context.Context { return termContext{ctx, t} }

// TermOf returns the Term that ctx belongs to, or nil.
func TermOf(ctx context.Context) Term {
	t, _ := ctx.Value(termKey{}).(Term)
	return t
}

type termKey struct{}

type termContext struct {
	context.Context
	term Term
}

func (c termContext) Value(key any) any {
	switch key.(type) {
	case termKey:
		return c.term
	case observerKey:
		return nil
	}
	return c.Context.Value(key)
}

// DefaultOwner returns host:pid of this process.
var DefaultOwner = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
})
