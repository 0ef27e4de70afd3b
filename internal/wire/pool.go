package wire

import (
	"context"
	"runtime"
	"time"

	"github.com/gomodule/redigo/redis"
)

// This file has what a caller must know of redigo's pools and connections (v1.9.3).

// connect returns a connection of pool. It blocks until the pool has one or ctx ends.
func connect(ctx context.Context, pool *redis.Pool) (conn redis.Conn, err error) {
	// When a pool with Wait and MaxActive is closed, its GetContext panics under a context
	// that has ended. connect turns this panic into errPoolClosed. Any other panic
	// propagates.
	defer func() {
		if !pool.Wait || pool.MaxActive <= 0 || ctx.Err() == nil {
			return
		}
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			if r.Error() != "send on closed channel" {
				panic(r)
			}
			err = errPoolClosed
		default:
			panic(r)
		}
	}()
	conn, err = pool.GetContext(ctx)
	if err == nil && isNothing(conn) {
		return nil, errNoConn
	}
	return conn, err
}

// Outside returns a pool that dials as pool does, outside the limits of pool. It has at
// most limit connections at a time, and keeps none that is idle.
func Outside(pool *redis.Pool, limit int) *redis.Pool {
	return &redis.Pool{
		DialContext: func(ctx context.Context) (redis.Conn, error) { return Dial(ctx, pool) },
		MaxActive:   limit,
		Wait:        true,
	}
}

// Dial dials as pool does, outside the limits of pool. A Dial function that takes no ctx
// may block for longer than ctx lives.
func Dial(ctx context.Context, pool *redis.Pool) (conn redis.Conn, err error) {
	if pool.DialContext != nil {
		conn, err = pool.DialContext(ctx)
	} else {
		conn, err = pool.Dial()
	}
	if err == nil && conn == nil {
		return nil, errNoConn
	}
	return conn, err
}

// isNothing reports whether conn, from a pool, wraps a nil connection, because Dial
// returned nil without an error. Every method of such a conn panics.
func isNothing(conn redis.Conn) (is bool) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			is = true
		default:
			panic(r)
		}
	}()
	conn.Err()
	return false
}

// interrupt breaks conn, so that a goroutine that is blocked in conn gets an error, and the
// pool does not keep conn. Unlike Close, interrupt may be called while another goroutine
// uses conn: redigo closes a connection whose receive deadline has passed.
func interrupt(conn redis.Conn) {
	if c, ok := conn.(redis.ConnWithContext); ok {
		c.ReceiveContext(pastDeadline{context.Background()})
	}
}

// drop makes the pool close conn instead of keeping it. A connection that cannot be
// interrupted is put into a state that pools cannot reset, because pools close such a
// connection.
func drop(conn redis.Conn) {
	interrupt(conn)
	if conn.Err() == nil {
		conn.Send("MONITOR")
	}
}

// pastDeadline is a context whose deadline has passed.
type pastDeadline struct{ context.Context }

func (pastDeadline) Deadline() (time.Time, bool) { return time.Unix(0, 0), true }
