package server_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"example.com/setlock/internal/compare/server"
)

func TestMain(m *testing.M) {
	server.ServeEtcd()
	goleak.VerifyTestMain(m)
}

// TestServers proves that both servers start, use CPU time, stop, continue and end.
func TestServers(t *testing.T) {
	redis, version, err := server.StartRedis()
	if err == server.ErrNoRedis && os.Getenv("SETLOCK_REQUIRE_REDIS") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { redis.Close() })
	if version == "" {
		t.Error("no version of Redis")
	}
	etcd, err := server.StartEtcd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Close() })
	for _, s := range []*server.Server{redis, etcd} {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if used, err := s.CPU(); err != nil || used <= 0 {
			t.Errorf("CPU of %s is %v, %v", s.Addr, used, err)
		}
		if err := s.Continue(); err != nil {
			t.Error(err)
		}
	}
}

// TestNoRedis proves that a missing redis-server is named in the error.
func TestNoRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, _, err := server.StartRedis(); err != server.ErrNoRedis {
		t.Errorf("got %v, want %v", err, server.ErrNoRedis)
	}
}
