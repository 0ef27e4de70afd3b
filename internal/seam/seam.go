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

// An Observer is told how an exchange with Redis ended, and when: nil when
// Redis answered as a working server does, whatever the answer was. It is called
// from several goroutines.
type Observer func(at time.Time, err error)

// WithTerm returns a context derived from ctx, for the function of a Do, that
// carries term: a context that ends when the lock is lost, with that cause, or
// when the Do is over, but not when the caller's does.
func WithTerm(ctx, term context.Context) context.Context {
	return context.WithValue(ctx, termKey{}, term)
}

// Term returns what WithTerm has put into ctx.
func Term(ctx context.Context) context.Context { return ctx.Value(termKey{}).(context.Context) }

type (
	key     struct{}
	termKey struct{}
)

// WithObserver returns a context derived from ctx whose exchanges o observes.
func WithObserver(ctx context.Context, o Observer) context.Context {
	return context.WithValue(ctx, key{}, o)
}

// Observe tells the Observer of ctx, if there is one.
func Observe(ctx context.Context, at time.Time, err error) {
	if o, ok := ctx.Value(key{}).(Observer); ok {
		o(at, err)
	}
}

// DefaultOwner returns host:pid of this process.
var DefaultOwner = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
})
