package wire

import (
	"context"
	"runtime"
	"time"

	"github.com/gomodule/redigo/redis"
)

// What redigo's pools and connections (v1.9.3) do that a caller must know.

// connect gets a connection of pool.
func connect(ctx context.Context, pool *redis.Pool) (conn redis.Conn, err error) {
	// A pool with Wait and MaxActive that was closed panics when its GetContext
	// meets a context that has ended. That is a closed pool and nothing else. Any
	// other panic propagates.
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

// Outside returns a pool that dials as pool does, outside its limits. It keeps no
// connection, and has at most most at a time.
func Outside(pool *redis.Pool, most int) *redis.Pool {
	return &redis.Pool{
		DialContext: func(ctx context.Context) (redis.Conn, error) { return Dial(ctx, pool) },
		MaxActive:   most,
		Wait:        true,
	}
}

// Dial dials as pool does, outside its limits. A Dial that knows no ctx may outlive it.
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

// isNothing reports whether conn, from a pool, holds nothing, because Dial returned nil
// without an error: its every method panics.
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

// interrupt breaks conn, so that a goroutine that is blocked in it comes back
// with an error, and so that its pool does not keep it. Unlike Close, it may be
// called while another goroutine uses conn: redigo closes a connection that is
// to receive by a deadline that has passed.
func interrupt(conn redis.Conn) {
	if c, ok := conn.(redis.ConnWithContext); ok {
		c.ReceiveContext(pastDeadline{context.Background()})
	}
}

// drop has the pool close conn instead of keeping it. A connection that cannot be
// interrupted is put into a state that pools cannot reset: they close such a connection.
func drop(conn redis.Conn) {
	interrupt(conn)
	if conn.Err() == nil {
		conn.Send("MONITOR")
	}
}

// pastDeadline is a context whose deadline has passed.
type pastDeadline struct{ context.Context }

func (pastDeadline) Deadline() (time.Time, bool) { return time.Unix(0, 0), true }
