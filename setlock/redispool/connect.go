package redispool

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A connector connects to servers that have the same credentials.
type connector struct {
	dial               func(ctx context.Context, network, address string) (net.Conn, error)
	tls                *tls.Config // nil: no TLS
	username, password string
	name               string // of the client; "" for none
	db                 int
	readTimeout        time.Duration // 0: no limit
	writeTimeout       time.Duration
}

// A command is a command and its arguments.
type command struct {
	name string
	args []any
}

func newCommand(name string, args ...any) command { return command{name, args} }

// connect connects to the server at addr and asks it questions, all in one round trip. It
// returns a reply for each question. An error that the server answers to a question is a
// reply of type redis.Error. connect returns when ctx ends.
func (c *connector) connect(ctx context.Context, addr string, questions ...command) (redis.Conn, []any, error) {
	conn, replies, err := c.tryConnect(ctx, addr, questions)
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("no answer: %w", context.Cause(ctx))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", addr, err)
	}
	return conn, replies, nil
}

func (c *connector) tryConnect(ctx context.Context, addr string, questions []command) (redis.Conn, []any, error) {
	raw, err := c.open(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	conn := redis.NewConn(raw, c.readTimeout, c.writeTimeout)
	// Closing the connection ends a read and a write that are blocked.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	replies, err := c.greet(conn, questions)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, replies, nil
}

// open opens a connection to addr, with TLS if c says so.
func (c *connector) open(ctx context.Context, addr string) (net.Conn, error) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	raw, err := c.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, errors.New("the Dial of the Config returned no connection and no error")
	}
	if c.tls == nil {
		return raw, nil
	}
	config := c.tls
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = "localhost" // a unix socket
		}
		config = config.Clone()
		config.ServerName = host
	}
	secure := tls.Client(raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return secure, nil
}

// greet makes conn ready to use, and asks the questions.
func (c *connector) greet(conn redis.Conn, questions []command) (replies []any, err error) {
	var setup []command
	if c.password != "" && c.username != "" {
		setup = append(setup, newCommand("AUTH", c.username, c.password))
	} else if c.password != "" {
		setup = append(setup, newCommand("AUTH", c.password))
	}
	if c.name != "" {
		setup = append(setup, newCommand("CLIENT", "SETNAME", c.name))
	}
	if c.db != 0 {
		setup = append(setup, newCommand("SELECT", c.db))
	}
	all := append(setup, questions...)
	if len(all) == 0 {
		return nil, nil
	}
	for _, q := range all {
		if err := conn.Send(q.name, q.args...); err != nil {
			return nil, err
		}
	}
	if err := conn.Flush(); err != nil {
		return nil, err
	}
	for i, q := range all {
		reply, err := conn.Receive()
		var refusal redis.Error
		switch {
		case err == nil:
		case !errors.As(err, &refusal):
			return nil, err
		case i >= len(setup):
			reply = refusal
		case q.name == "AUTH":
			return nil, authError(refusal)
		default:
			return nil, fmt.Errorf("%s: %w", q.name, refusal)
		}
		if i >= len(setup) {
			replies = append(replies, reply)
		}
	}
	return replies, nil
}

// authError returns an error for a refused AUTH. Of the server's words it has only the kind,
// because a server that does not know AUTH answers with the arguments, and so with the
// password.
func authError(refusal redis.Error) error {
	switch kind, _, _ := strings.Cut(string(refusal), " "); kind {
	case "WRONGPASS":
		return redis.Error("WRONGPASS the user or the password is wrong")
	case "LOADING", "NOPERM", "MASTERDOWN":
		return redis.Error(kind + " AUTH was refused")
	default:
		return redis.Error("ERR AUTH was refused: perhaps the server has no password, or no users because it is older than Redis 6")
	}
}
