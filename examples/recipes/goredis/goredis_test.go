package goredis_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"

	"example.com/setlock/examples/recipes/goredis"
	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	host     = "redis.example.com"
	user     = "app"
	password = "secret"
)

// A lock on the pool and go-redis with the same options see the same key.
func TestPool(t *testing.T) {
	srv, secure, authority := redistest.NewTLSServer(t, host,
		"--user", "default", "off", "--user", user, "on", ">"+password, "~*", "&*", "+@all")
	trust := &tls.Config{RootCAs: authority, ServerName: host}
	var dials, asked atomic.Int64
	dialer := func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		var d net.Dialer
		return d.DialContext(ctx, network, srv.Addr)
	}
	for _, c := range []struct {
		name    string
		options redis.Options
		used    *atomic.Int64 // what must have been called
	}{
		{name: "password", options: redis.Options{Addr: srv.Addr, Username: user, Password: password}},
		{name: "database and name", options: redis.Options{Addr: srv.Addr, Username: user, Password: password, DB: 3, ClientName: "locks"}},
		{name: "TLS", options: redis.Options{Addr: secure, Username: user, Password: password, TLSConfig: trust}},
		{name: "dialer", options: redis.Options{Addr: "nowhere.example.com:1", Dialer: dialer, Username: user, Password: password}, used: &dials},
		{name: "dialer does TLS itself", options: redis.Options{Dialer: dialer, TLSConfig: trust, Username: user, Password: password}, used: &dials},
		{name: "credentials", options: redis.Options{Addr: srv.Addr, Username: "wrong", CredentialsProvider: func() (string, string) {
			asked.Add(1)
			return user, password
		}}, used: &asked},
		{name: "credentials with a context", options: redis.Options{Addr: srv.Addr, CredentialsProviderContext: func(ctx context.Context) (string, string, error) {
			asked.Add(1)
			return user, password, ctx.Err()
		}}, used: &asked},
	} {
		t.Run(c.name, func(t *testing.T) {
			options := c.options
			client := redis.NewClient(&options) // sets the defaults in a copy
			defer client.Close()
			for from, o := range map[string]*redis.Options{"options": &c.options, "client": client.Options()} {
				dials.Store(0)
				asked.Store(0)
				wantSameKey(t, from, o, client)
				if c.used != nil && c.used.Load() == 0 {
					t.Errorf("%s: the function of the options was not called", from)
				}
			}
		})
	}
}

// wantSameKey holds a lock on a pool from o, and looks at its key with client.
func wantSameKey(t *testing.T, from string, o *redis.Options, client *redis.Client) {
	t.Helper()
	pool, err := goredis.Pool(o)
	if err != nil {
		t.Fatalf("%s: %v", from, err)
	}
	defer pool.Close()
	l := &setlock.Lock{Key: "job", Pool: pool, Owner: "us"}
	err = l.Do(t.Context(), func(ctx context.Context) error {
		value, err := client.Get(ctx, "job").Result()
		if err != nil || !strings.HasSuffix(value, ":us") {
			t.Errorf("%s: go-redis sees the value %q, %v, want one of our lock", from, value, err)
		}
		clients, err := client.ClientList(ctx).Result()
		if err != nil {
			return err
		}
		for client := range strings.Lines(clients) {
			// Connections of go-redis speak version 3 of the protocol.
			if strings.Contains(client, fmt.Sprintf(" name=%s ", o.ClientName)) && !strings.Contains(client, " resp=3") {
				return nil
			}
		}
		t.Errorf("%s: no connection of the pool has the name %q", from, o.ClientName)
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", from, err)
	}
}

// A connection is made with the password of the moment.
func TestPasswordChanges(t *testing.T) {
	srv := redistest.NewServer(t, "--requirepass", "old")
	var present atomic.Value
	present.Store("old")
	pool, err := goredis.Pool(&redis.Options{Addr: srv.Addr, CredentialsProvider: func() (string, string) {
		return "", present.Load().(string)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	c := pool.Get()
	defer c.Close()
	if _, err := c.Do("CONFIG", "SET", "requirepass", "new"); err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		c, err := pool.DialContext(t.Context())
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := ask(); err == nil {
		t.Error("Redis accepts the old password")
	}
	present.Store("new")
	if err := ask(); err != nil {
		t.Errorf("with the new password: %v", err)
	}
}

func TestErrors(t *testing.T) {
	srv, secure, authority := redistest.NewTLSServer(t, host, "--requirepass", password)
	failure := errors.New("failure")
	for name, o := range map[string]*redis.Options{
		"wrong password": {Addr: srv.Addr, Password: "mistake"},
		"no password":    {Addr: srv.Addr},
		"another host in the certificate": {Addr: secure, Password: password,
			TLSConfig: &tls.Config{RootCAs: authority, ServerName: "another.example.com"}},
		"certificate of an unknown authority": {Addr: secure, Password: password, TLSConfig: &tls.Config{ServerName: host}},
		"no credentials": {Addr: srv.Addr, CredentialsProviderContext: func(context.Context) (string, string, error) {
			return "", "", failure
		}},
	} {
		t.Run(name, func(t *testing.T) {
			pool, err := goredis.Pool(o)
			if err != nil {
				t.Fatal(err)
			}
			defer pool.Close()
			l := &setlock.Lock{Key: "job", Pool: pool}
			err = l.Do(t.Context(), func(context.Context) error { return nil })
			switch {
			case err == nil:
				t.Error("no error")
			case strings.Contains(err.Error(), password) || strings.Contains(err.Error(), "mistake"):
				t.Errorf("the error has the password: %v", err)
			}
		})
	}
	if _, err := goredis.Pool(&redis.Options{StreamingCredentialsProvider: streaming{}}); err == nil {
		t.Error("a StreamingCredentialsProvider was accepted and ignored")
	}
}

// DialTimeout bounds the whole dial, with AUTH.
func TestDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const timeout = 50 * time.Millisecond
		pool, err := goredis.Pool(&redis.Options{Password: password, DialTimeout: timeout,
			Dialer: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe() // nobody answers on theirs
				t.Cleanup(func() { theirs.Close() })
				return ours, nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		began := time.Now()
		if c, err := pool.GetContext(t.Context()); err == nil {
			c.Close()
			t.Error("a server that is silent has answered")
		}
		if d := time.Since(began); d != timeout {
			t.Errorf("the dial took %v, want %v", d, timeout)
		}
	})
}

type streaming struct {
	auth.StreamingCredentialsProvider
}
