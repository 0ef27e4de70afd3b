package peer

import (
	"context"
	"net"
	"time"

	"github.com/gomodule/redigo/redis"
)

// onRedis completes the Hold of a lock that is a key on Redis.
func onRedis(addr, key string, h *Hold) *Hold {
	h.Expiry = func() (time.Time, error) {
		at, err := redis.Int64(ask(addr, "PEXPIRETIME", key)) // since Redis 7.0
		if err != nil || at <= 0 {
			return time.Time{}, err
		}
		return time.UnixMilli(at), nil
	}
	h.Delete = func() error {
		_, err := ask(addr, "DEL", key)
		return err
	}
	return h
}

// ask sends one command on a connection of its own.
func ask(addr, command string, args ...any) (any, error) {
	c, err := redis.Dial("tcp", addr, redis.DialReadTimeout(20*time.Second))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Do(command, args...)
}

// redigoPool returns the pool of the peers on redigo. A timeout of 0 is redigo's
// default, which is none.
func redigoPool(o Options, timeout time.Duration) *redis.Pool {
	return &redis.Pool{MaxIdle: 32, MaxActive: 32, Wait: true, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return redis.DialContext(ctx, "tcp", o.Redis,
			redis.DialContextFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
				return o.Network.Dial(ctx, network, addr)
			}),
			redis.DialReadTimeout(timeout), redis.DialWriteTimeout(timeout))
	}}
}
