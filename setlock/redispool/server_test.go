package redispool_test

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock/redispool"
)

// pool returns the pool of a URL, for the key "k".
func pool(t testing.TB, url string) *redis.Pool {
	t.Helper()
	return poolOf(t, config(t, url))
}

func config(t testing.TB, url string) *redispool.Config {
	t.Helper()
	c, err := redispool.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c.Key = "k"
	return c
}

// works fails the test unless a connection of pool writes to s.
func works(t *testing.T, pool *redis.Pool, s *redistest.Server) {
	t.Helper()
	conn := pool.Get()
	defer conn.Close()
	if _, err := conn.Do("SET", "k", t.Name()); err != nil {
		t.Fatal(err)
	}
	if got, _ := redis.String(redistest.Do(t, s.Dial, "GET", "k"), nil); got != t.Name() {
		t.Errorf("k = %q on the server, want %q", got, t.Name())
	}
}

// refused returns the error with which pool has no connection.
func refused(t *testing.T, pool *redis.Pool) error {
	t.Helper()
	conn, err := pool.GetContext(t.Context())
	conn.Close()
	if err == nil {
		t.Fatal("no error")
	}
	return err
}

func TestServer(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t)
	works(t, pool(t, "redis://"+s.Addr), s)
	c := config(t, "redis://"+s.Addr+"/5?client_name=me")
	c.Key = "" // without a key
	conn := poolOf(t, c).Get()
	defer conn.Close()
	if name, err := redis.String(conn.Do("CLIENT", "GETNAME")); name != "me" || err != nil {
		t.Errorf("name %q, %v", name, err)
	}
	if _, err := conn.Do("SET", "only in 5", "v"); err != nil {
		t.Fatal(err)
	}
	if got := redistest.Do(t, s.Dial, "EXISTS", "only in 5"); got != int64(0) {
		t.Error("the connection is not in database 5")
	}
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t, "--requirepass", "sec/ret:1", "--user", "app", "on", ">p@ss", "~*", "&*", "+@all")
	for _, user := range []*url.Userinfo{url.UserPassword("", "sec/ret:1"), url.UserPassword("app", "p@ss")} {
		conn := pool(t, "redis://"+user.String()+"@"+s.Addr).Get()
		if _, err := conn.Do("PING"); err != nil {
			t.Errorf("%s: %v", user.Username(), err)
		}
		conn.Close()
	}
	for _, user := range []string{"", "app@", ":wrong@", "app:sec%2Fret%3A1@"} {
		err := refused(t, pool(t, "redis://"+user+s.Addr))
		var answer redis.Error
		if !errors.As(err, &answer) || !strings.Contains(err.Error(), "NOAUTH") && !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("%q: %v, want what Redis has answered", user, err)
		}
		for _, secret := range []string{"sec/ret", "wrong@", "%2F"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q: %v", user, err)
			}
		}
	}
	open := redistest.NewServer(t)
	if err := refused(t, pool(t, "redis://:secret@"+open.Addr)); err == nil || !strings.Contains(err.Error(), "has no password") || strings.Contains(err.Error(), "secret") {
		t.Errorf("a password for a server without one: %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.sock")
	s := redistest.NewServer(t, "--unixsocket", path)
	works(t, pool(t, "unix://"+path), s)
	s.Kill()
	if err := refused(t, pool(t, "unix://"+path)); !strings.Contains(err.Error(), path) {
		t.Errorf("%v does not name the socket", err)
	}
}

func TestServerThatIsAway(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t)
	pool := pool(t, "redis://"+s.Addr+"?dial_timeout=100ms")
	s.Pause()
	start := time.Now()
	err := refused(t, pool)
	if took := time.Since(start); took < 100*time.Millisecond || took > 2*time.Second {
		t.Errorf("a server that hangs: %v after %v, want it after 100 ms", err, took)
	}
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), s.Addr+": no answer") {
		t.Errorf("a server that hangs: %v, want no answer", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pool.GetContext(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	s.Kill()
	if err := refused(t, pool); !strings.Contains(err.Error(), "refused") || !strings.Contains(err.Error(), s.Addr) {
		t.Errorf("a server that is dead: %v", err)
	}
	s.Restart()
	works(t, pool, s)
}

// check fails the test unless the pool of c has a connection that answers.
func check(t *testing.T, c *redispool.Config) {
	t.Helper()
	conn := poolOf(t, c).Get()
	defer conn.Close()
	if _, err := conn.Do("PING"); err != nil {
		t.Errorf("%s: %v", c, err)
	}
}

// A user who may read and write the key, and nothing else.
func TestRights(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t, "--user", "app", "on", ">p", "resetkeys", "~k", "-@all", "+pttl", "+set")
	pool := pool(t, "redis://app:p@"+s.Addr)
	pool.MaxIdle = 0 // dial each time
	for range 2 {
		works(t, pool, s)
	}
	if log, _ := redis.Values(redistest.Do(t, s.Dial, "ACL", "LOG"), nil); len(log) != 1 {
		t.Errorf("Redis has logged %d refusals, want one, for CLUSTER SLOTS", len(log))
	}
	c := config(t, "redis://app:p@"+s.Addr)
	c.Key = "another"
	if err := refused(t, poolOf(t, c)); !strings.Contains(err.Error(), "PTTL: NOPERM") {
		t.Errorf("no right to the key: %v", err)
	}
}
