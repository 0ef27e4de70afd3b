package redispool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A twin is a place with two servers that serve. One of them answers when nobody waits for it
// any more.
type twin struct{ early, late redis.Conn }

func (twin) what() string     { return "twin" }
func (twin) guides() []string { return []string{"late", "early"} }
func (p twin) visit(ctx context.Context, t target) (answer, error) {
	if t.addr == "early" {
		return answer{conn: p.early}, nil
	}
	<-ctx.Done()
	return answer{conn: p.late}, nil
}

// A closer is a connection that says when it is closed.
type closer struct {
	redis.Conn
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

func TestConnectionThatComesLateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early, late := new(closer), new(closer)
		s := search{place: twin{early, late}, timeout: time.Second}
		conn, err := s.dial(t.Context())
		if conn != early || err != nil {
			t.Errorf("found %v, %v", conn, err)
		}
		synctest.Wait()
		if early.closed || !late.closed {
			t.Errorf("closed: the connection that was found %v, the late one %v; want only the late one closed", early.closed, late.closed)
		}
	})
}
