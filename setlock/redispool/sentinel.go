package redispool

import (
	"context"
	"fmt"
	"net"

	"github.com/gomodule/redigo/redis"
)

// sentinels are the place where a primary is found that Redis Sentinel watches.
type sentinels struct {
	name   string   // of the primary
	addrs  []string // of the sentinels
	guide  *connector
	server *connector
}

func (s *sentinels) what() string { return fmt.Sprintf("primary of %q", s.name) }

func (s *sentinels) guides() []string { return s.addrs }

// visit asks a sentinel for the address of the primary. It asks a server that a sentinel has
// named whether it is a primary, because a sentinel may not know of a failover yet.
func (s *sentinels) visit(ctx context.Context, t target) (answer, error) {
	if t.named {
		return s.visitServer(ctx, t.addr)
	}
	conn, replies, err := s.guide.connect(ctx, t.addr, newCommand("SENTINEL", "get-master-addr-by-name", s.name))
	if err != nil {
		return answer{}, err
	}
	conn.Close()
	if replies[0] == nil {
		return answer{}, fmt.Errorf("%s: this sentinel knows no %q", t.addr, s.name)
	}
	addr, err := redis.Strings(replies[0], asError(replies[0]))
	if err != nil || len(addr) != 2 {
		return answer{}, unexpected(t.addr, "SENTINEL", err)
	}
	return answer{next: []target{{net.JoinHostPort(addr[0], addr[1]), true}}}, nil
}

func (s *sentinels) visitServer(ctx context.Context, addr string) (answer, error) {
	conn, replies, err := s.server.connect(ctx, addr, newCommand("ROLE"))
	if err != nil {
		return answer{}, err
	}
	role := ""
	all, err := redis.Values(replies[0], asError(replies[0]))
	if err == nil && len(all) > 0 {
		role, err = redis.String(all[0], nil)
	}
	if role == "master" {
		return answer{conn: conn}, nil
	}
	conn.Close()
	if role == "" {
		return answer{}, unexpected(addr, "ROLE", err)
	}
	return answer{}, fmt.Errorf("%s: a sentinel names it, but it is a %s", addr, role)
}

// asError returns reply if it is an error that Redis answered, or else nil.
func asError(reply any) error {
	if refusal, ok := reply.(redis.Error); ok {
		return refusal
	}
	return nil
}

// unexpected returns an error for a reply of the server at addr that is an error or makes no
// sense.
func unexpected(addr, command string, err error) error {
	if err == nil {
		return fmt.Errorf("%s: unexpected reply to %s", addr, command)
	}
	return fmt.Errorf("%s: %s: %w", addr, command, err)
}
