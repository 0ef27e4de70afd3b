package setlocktest_test

import (
	"errors"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/setlock/setlocktest"
)

// refuses fails t unless pool cannot connect.
func refuses(t *testing.T, pool *redis.Pool) {
	t.Helper()
	if _, err := do(t, pool, "PING"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("PING = %v, want that it is refused", err)
	}
}

func TestCutOff(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		a, b := srv.Pool(), srv.Pool()
		old := a.Get()
		defer old.Close()
		if _, err := old.Do("SET", "k", "old"); err != nil {
			t.Fatal(err)
		}
		srv.CutOff(a)
		fresh := a.Get() // opens, because a has no idle connection
		defer fresh.Close()
		for _, conn := range []redis.Conn{old, fresh} {
			if _, err := redis.DoWithTimeout(conn, 10*time.Millisecond, "APPEND", "k", "+late"); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("APPEND on a silent network = %v, want a timeout", err)
			}
		}
		mustDo(t, b, "old", "GET", "k")

		srv.Reconnect(a)
		for range 200 { // in real time, what was held takes a moment to arrive
			if got, _ := redis.String(do(t, b, "GET", "k")); got == "old+late+late" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		mustDo(t, b, "old+late+late", "GET", "k")
		mustDo(t, a, "PONG", "PING")
	})
}

func TestRefuse(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		a, b := srv.Pool(), srv.Pool()
		conn := a.Get()
		defer conn.Close()
		if _, err := conn.Do("PING"); err != nil {
			t.Fatal(err)
		}
		srv.Refuse(a)
		if _, err := conn.Do("PING"); err == nil {
			t.Error("a connection has survived the Refuse")
		}
		refuses(t, a)
		mustDo(t, b, "PONG", "PING")
		srv.Reconnect(a)
		mustDo(t, a, "PONG", "PING")
	})
}

// What Refuse and CutOff of a pool say holds after a restart too. Stop breaks the connections of a
// pool that is cut off.
func TestRestartOfARoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		a, b := srv.Pool(), srv.Pool()
		srv.Refuse(a)
		srv.CutOff(b)
		conn := b.Get()
		defer conn.Close()
		conn.Send("SET", "k", "lost")
		conn.Flush()

		srv.Stop()
		refuses(t, b)
		srv.Start()
		refuses(t, a)
		if got, err := do(t, b, "PING"); err == nil {
			t.Errorf("PING on a silent network = %v", got)
		}

		srv.Stop()
		srv.Reconnect(a)
		srv.Reconnect(b)
		refuses(t, a)
		srv.Start()
		mustDo(t, a, nil, "GET", "k")
		mustDo(t, b, nil, "GET", "k")
	})
}

func TestConcurrentCalls(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		pool := srv.Pool()
		var calls sync.WaitGroup
		for _, call := range []func(){
			func() { srv.Stop(); srv.Start() },
			func() { srv.CutOff(pool); srv.Reconnect(pool) },
			func() { srv.Refuse(pool); srv.Reconnect(pool) },
			srv.Flush,
			func() { do(t, srv.Pool(), "SET", "k", "v") },
			func() { do(t, pool, "BLPOP", "list", 0.001) },
		} {
			calls.Go(func() {
				for range 20 {
					call()
				}
			})
		}
		calls.Wait()
		mustDo(t, srv.Pool(), "PONG", "PING")
	})
}
