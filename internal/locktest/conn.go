package locktest

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"
)

// Wrap has pool wrap every connection that it dials from now on.
func Wrap(pool *redis.Pool, wrap func(redis.Conn) redis.Conn) {
	dial := pool.DialContext
	pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return wrap(conn), nil
	}
}

// A Plain connection is one that a library has wrapped: it has none of the methods that take
// a context or a timeout.
type Plain struct{ redis.Conn }

// NewPlain wraps conn, for [Wrap].
func NewPlain(conn redis.Conn) redis.Conn { return Plain{conn} }

// A Wrapped connection has all that one of redigo has. A type that embeds it can change a part.
type Wrapped struct{ redis.Conn }

// ReceiveWithTimeout implements [redis.ConnWithTimeout].
func (c Wrapped) ReceiveWithTimeout(d time.Duration) (any, error) {
	return redis.ReceiveWithTimeout(c.Conn, d)
}

// DoWithTimeout implements [redis.ConnWithTimeout].
func (c Wrapped) DoWithTimeout(d time.Duration, command string, args ...any) (any, error) {
	return redis.DoWithTimeout(c.Conn, d, command, args...)
}

// ReceiveContext implements [redis.ConnWithContext].
func (c Wrapped) ReceiveContext(ctx context.Context) (any, error) {
	return redis.ReceiveContext(c.Conn, ctx)
}

// DoContext implements [redis.ConnWithContext].
func (c Wrapped) DoContext(ctx context.Context, command string, args ...any) (any, error) {
	return redis.DoContext(c.Conn, ctx, command, args...)
}
