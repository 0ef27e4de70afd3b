package redispool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
)

// The defaults of a Config.
const (
	DefaultDialTimeout = 2 * time.Second
	DefaultReadTimeout = 3 * time.Second
	DefaultMaxIdle     = 4
	DefaultIdleTimeout = time.Minute
)

// A Config says where Redis is and how a pool connects to it. [ParseURL] makes a Config from
// a URL. A Config with Addrs is ready to use, because the zero value of every other field is
// its default.
//
// The text of a Config, as fmt, log/slog and encoding/json print it, has no user and no
// password.
type Config struct {
	// Addrs are the addresses of the servers: host:port, or the path of a unix socket, which
	// begins with a slash. Required. Several addresses are the nodes of a Redis Cluster, or,
	// with MasterName, the sentinels.
	Addrs []string

	// MasterName is the name by which Redis Sentinel knows the primary. If it is set, Addrs
	// are sentinels. Default: no Sentinel.
	MasterName string

	// Key is the key of the lock. The pool leads to the node of a Redis Cluster that serves
	// Key. Required if Addrs are several nodes. If Addrs is one server, Key makes no
	// difference, unless this server is a node of a Redis Cluster. Ignored with MasterName.
	Key string

	// Username and Password are for Redis, not for the sentinels. Without a Password, the
	// pool sends no AUTH. Without a Username, Redis takes its default user.
	Username, Password string

	// SentinelUsername and SentinelPassword are for the sentinels.
	SentinelUsername, SentinelPassword string

	// DB is the number of the database. A Redis Cluster has only database 0.
	DB int

	// ClientName is the name of the connections in CLIENT LIST. Default: none.
	ClientName string

	// TLS is the configuration of TLS, also for the sentinels. nil: no TLS. If its
	// ServerName is empty, the certificate of a server must match the address of this
	// server.
	TLS *tls.Config

	// DialTimeout bounds a dial, with everything that belongs to it: the questions to
	// sentinels and nodes, TLS and AUTH. Default: [DefaultDialTimeout].
	DialTimeout time.Duration

	// ReadTimeout and WriteTimeout bound the wait for a reply and the sending of a command.
	// Less than 0: no limit. Default: [DefaultReadTimeout], and ReadTimeout for
	// WriteTimeout. With Replicas, a Lock waits for replicas for a twelfth of its Lease, and
	// ReadTimeout should be longer than this.
	ReadTimeout, WriteTimeout time.Duration

	// MaxIdle is how many connections the pool keeps while nobody uses them. Default:
	// [DefaultMaxIdle].
	MaxIdle int

	// MaxActive is how many connections the pool has at most. If all are in use, a call waits
	// for one until its context ends. Default: no limit.
	MaxActive int

	// IdleTimeout is how long the pool keeps a connection that nobody uses. Less than 0: for
	// ever. Default: [DefaultIdleTimeout].
	IdleTimeout time.Duration

	// MaxConnLifetime is the age at which the pool does not use a connection again. 0 or
	// less: no limit.
	MaxConnLifetime time.Duration

	// Dial opens a connection for network ("tcp" or "unix") and address, before TLS. It must
	// return when ctx ends. Default: [net.Dialer.DialContext].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Pool returns a pool that connects as c says. It does not connect yet. Later changes of c
// do not change the pool. An error names the field that is wrong.
func (c *Config) Pool() (*redis.Pool, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("redispool: %w", err)
	}
	pool := &redis.Pool{
		DialContext:     c.dial(),
		MaxIdle:         orDefault(c.MaxIdle, DefaultMaxIdle),
		MaxActive:       c.MaxActive,
		Wait:            c.MaxActive > 0,
		IdleTimeout:     limit(orDefault(c.IdleTimeout, DefaultIdleTimeout)),
		MaxConnLifetime: limit(c.MaxConnLifetime),
	}
	return pool, nil
}

// dial returns the DialContext of a pool.
func (c *Config) dial() func(context.Context) (redis.Conn, error) {
	readTimeout := orDefault(c.ReadTimeout, DefaultReadTimeout)
	server := &connector{
		dial: c.Dial, tls: c.TLS.Clone(), username: c.Username, password: c.Password, name: c.ClientName, db: c.DB,
		readTimeout: limit(readTimeout), writeTimeout: limit(orDefault(c.WriteTimeout, readTimeout)),
	}
	if server.dial == nil {
		server.dial = new(net.Dialer).DialContext
	}
	addrs, timeout := append([]string(nil), c.Addrs...), orDefault(c.DialTimeout, DefaultDialTimeout)
	switch {
	case c.MasterName != "":
		guide := *server
		guide.username, guide.password, guide.db = c.SentinelUsername, c.SentinelPassword, 0
		s := &sentinels{name: c.MasterName, addrs: addrs, guide: &guide, server: server}
		return (&search{place: s, timeout: timeout}).dial
	case c.Key != "":
		n := &nodes{key: c.Key, addrs: addrs, server: server}
		return (&search{place: n, timeout: timeout}).dial
	}
	return func(ctx context.Context) (redis.Conn, error) {
		ctx, cancel := clock.WithTimeout(ctx, timeout)
		defer cancel()
		conn, _, err := server.connect(ctx, addrs[0])
		if err != nil {
			return nil, fmt.Errorf("redispool: %w", err)
		}
		return conn, nil
	}
}

// check returns an error if no pool can be made of c.
func (c *Config) check() error {
	if len(c.Addrs) == 0 {
		return errors.New(`no Addrs: want, for example, "localhost:6379"`)
	}
	for _, addr := range c.Addrs {
		if strings.HasPrefix(addr, "/") && len(c.Addrs) == 1 && c.MasterName == "" {
			continue
		}
		if _, err := parseAddr(addr); err != nil {
			return fmt.Errorf("an address in Addrs is %w", err)
		}
	}
	switch {
	case len(c.Addrs) > 1 && c.MasterName == "" && c.Key == "":
		return errors.New("no Key: several Addrs without a MasterName are a Redis Cluster, and the pool leads to the node of the lock's key")
	case len(c.Addrs) > 1 && c.MasterName == "" && c.DB != 0:
		return errors.New("DB is not 0: several Addrs without a MasterName are a Redis Cluster, which has only database 0")
	case c.DB < 0:
		return errors.New("DB is negative")
	case c.DialTimeout < 0:
		return errors.New("DialTimeout is negative: without it, a server that hangs would block a dial for ever")
	case c.MaxIdle < 0:
		return errors.New("MaxIdle is negative")
	case c.MaxActive < 0:
		return errors.New("MaxActive is negative")
	case !isClientName(c.ClientName):
		return errors.New("ClientName has a space or a sign that is not printable ASCII")
	}
	return nil
}

// isClientName reports whether Redis accepts name as the name of a client.
func isClientName(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return r < '!' || r > '~' })
}

// parseAddr checks that addr is host:port, and returns it in its usual form. Its error does
// not quote addr.
func parseAddr(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if strings.Contains(host, ":") && err == nil {
		_, err = netip.ParseAddr(host)
	}
	if err != nil || host == "" || strings.ContainsAny(host, "@/?#, ") {
		return "", errors.New(`not host:port, as in "10.0.0.2:6379" or "[::1]:6379"`)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", errors.New(`not host:port with a port from 1 to 65535, as in "10.0.0.2:6379"`)
	}
	return net.JoinHostPort(host, port), nil
}

// String returns c as a URL, without its users, passwords and options.
func (c Config) String() string {
	u := url.URL{Scheme: "redis"}
	if c.TLS != nil {
		u.Scheme = "rediss"
	}
	query := make(url.Values)
	for i, addr := range c.Addrs {
		switch {
		case i > 0:
			query.Add("addr", addr)
		case strings.HasPrefix(addr, "/"):
			u.Scheme, u.Path = "unix", addr
		default:
			u.Host = addr
		}
	}
	if c.MasterName != "" {
		query.Set("master_name", c.MasterName)
	}
	if c.DB != 0 {
		query.Set("db", strconv.Itoa(c.DB))
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// GoString returns what String returns, so that %#v prints no password.
func (c Config) GoString() string { return "redispool.Config(" + c.String() + ")" }

// MarshalText returns what String returns, so that encoding/json and log/slog write no
// password.
func (c Config) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// orDefault returns v, or otherwise if v is zero.
func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// limit returns d as redigo takes it, where 0 is no limit.
func limit(d time.Duration) time.Duration { return max(d, 0) }
