// Package redistest has servers and faults for the tests of this module: an
// embedded Redis that lives in virtual time, a real redis-server, and a network
// between pool and server that fails as it is told.
package redistest

import (
	"context"
	"net"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"
)

// A Dialer opens a connection to a Redis server.
type Dialer func(ctx context.Context) (net.Conn, error)

// Pool returns a pool that dials with dial, until t ends. Its connections have
// no timeouts of their own.
func Pool(t testing.TB, dial Dialer) *redis.Pool {
	pool := &redis.Pool{
		MaxIdle: 16,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			conn, err := dial(ctx)
			if err != nil {
				return nil, err
			}
			return redis.NewConn(conn, 0, 0), nil
		},
	}
	t.Cleanup(func() { pool.Close() })
	return pool
}

// Embedded is a Redis in this process. Its keys expire by the clock, which in
// a testing/synctest bubble is the bubble's.
type Embedded struct{ *miniredis.Miniredis }

// NewEmbedded starts a server that ends with t. t may run for two days, in virtual time.
func NewEmbedded(t testing.TB) *Embedded {
	boundLifetime(t)
	return NewPatient(t)
}

// NewPatient is NewEmbedded for a test that may run for ever.
func NewPatient(t testing.TB) *Embedded {
	m := miniredis.NewMiniRedis()
	m.ClockTTL(true)
	t.Cleanup(m.Close)
	return &Embedded{m}
}

// Dial opens a connection in memory.
func (e *Embedded) Dial(context.Context) (net.Conn, error) { return e.Miniredis.Dial() }

// Do runs a command on a connection of its own and fails t if that fails.
func Do(t testing.TB, dial Dialer, command string, args ...any) any {
	t.Helper()
	conn, err := dial(t.Context())
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	c := redis.NewConn(conn, 0, 0)
	defer c.Close()
	reply, err := c.Do(command, args...)
	if err != nil {
		t.Fatalf("%s %v: %v", command, args, err)
	}
	return reply
}
