package redistest_test

import (
	"context"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
)

func TestServer(t *testing.T) {
	s := redistest.NewServer(t)
	redistest.Do(t, s.Dial, "SET", "k", "v")
	s.Pause()
	conn, err := s.Dial(t.Context())
	if err != nil {
		t.Fatalf("a paused server does not accept: %v", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := redis.DoContext(redis.NewConn(conn, 0, 0), ctx, "PING"); !timedOut(err) {
		t.Errorf("PING of a paused server: %v, want a timeout", err)
	}
	s.Continue()
	if got, _ := redis.String(redistest.Do(t, s.Dial, "GET", "k"), nil); got != "v" {
		t.Errorf("GET after a pause = %q, want v", got)
	}
	s.Restart()
	if got := redistest.Do(t, s.Dial, "GET", "k"); got != nil {
		t.Errorf("GET after a restart = %v, want nothing", got)
	}
}

func TestReplica(t *testing.T) {
	primary := redistest.NewServer(t)
	replica := redistest.NewReplica(t, primary.Addr)
	redistest.AwaitReplicas(t, primary.Dial, 1)
	redistest.Do(t, primary.Dial, "SET", "k", "v")
	redistest.AwaitReplicas(t, primary.Dial, 1)
	if got, _ := redis.String(redistest.Do(t, replica.Dial, "GET", "k"), nil); got != "v" {
		t.Errorf("GET of the replica = %q, want v", got)
	}
}
