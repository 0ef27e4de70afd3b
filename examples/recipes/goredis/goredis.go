// Package goredis is a recipe: a pool for a lock from the options of go-redis.
package goredis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"github.com/redis/go-redis/v9"
)

// Pool returns a pool that connects as go-redis does with o, which may also be the Options of a
// client. The pool takes over the address, the Dialer or TLS, the credentials, the database, the name
// and the time-outs. A time-out of 0 is the default of go-redis. OnConnect, Limiter and the sizes of
// the pool of go-redis have no effect.
func Pool(o *redis.Options) (*redigo.Pool, error) {
	if o.StreamingCredentialsProvider != nil {
		return nil, errors.New("goredis: StreamingCredentialsProvider is not supported")
	}
	options := *o // so that later changes have no effect
	o = &options
	addr := cmp.Or(o.Addr, "localhost:6379")
	network := cmp.Or(o.Network, "tcp")
	if o.Network == "" && strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	dial := o.Dialer
	switch { // as in go-redis, a Dialer does TLS itself
	case dial == nil && o.TLSConfig != nil:
		dial = (&tls.Dialer{Config: o.TLSConfig}).DialContext
	case dial == nil:
		dial = (&net.Dialer{}).DialContext
	}
	read := timeout(o.ReadTimeout, 3*time.Second)
	return &redigo.Pool{
		MaxIdle:         4,
		IdleTimeout:     time.Minute,
		MaxConnLifetime: max(o.ConnMaxLifetime, 0),
		DialContext: func(ctx context.Context) (redigo.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, cmp.Or(o.DialTimeout, 5*time.Second))
			defer cancel()
			user, password, err := credentials(ctx, o)
			if err != nil {
				return nil, err
			}
			return redigo.DialContext(ctx, network, addr, redigo.DialContextFunc(dial),
				redigo.DialUsername(user), redigo.DialPassword(password),
				redigo.DialDatabase(o.DB), redigo.DialClientName(o.ClientName),
				redigo.DialReadTimeout(read), redigo.DialWriteTimeout(timeout(o.WriteTimeout, read)))
		},
	}, nil
}

// credentials asks for each connection, so that a password may change.
func credentials(ctx context.Context, o *redis.Options) (user, password string, err error) {
	switch {
	case o.CredentialsProviderContext != nil:
		return o.CredentialsProviderContext(ctx)
	case o.CredentialsProvider != nil:
		user, password = o.CredentialsProvider()
		return user, password, nil
	}
	return o.Username, o.Password, nil
}

// timeout returns d, or its default if d is 0, or no limit, which is 0 in redigo, if d is less.
func timeout(d, byDefault time.Duration) time.Duration { return max(cmp.Or(d, byDefault), 0) }
