package setlocktest_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/setlock"
	"example.com/setlock/setlock/redispool"
	"example.com/setlock/setlock/setlocktest"
)

// inBoth runs test in a bubble, and outside of any.
func inBoth(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, test) })
	t.Run("real time", test)
}

// do runs a command on a connection of pool.
func do(t *testing.T, pool *redis.Pool, command string, args ...any) (any, error) {
	t.Helper()
	conn := pool.Get()
	defer conn.Close()
	return redis.DoContext(conn, t.Context(), command, args...)
}

// mustDo fails t unless a command on a connection of pool has the given answer.
func mustDo(t *testing.T, pool *redis.Pool, want any, command string, args ...any) {
	t.Helper()
	got, err := do(t, pool, command, args...)
	if b, ok := got.([]byte); ok {
		got = string(b)
	}
	if err != nil || got != want {
		t.Errorf("%s %v = %v, %v, want %v", command, args, got, err, want)
	}
}

func TestStopAndStart(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		pool := srv.Pool()
		mustDo(t, pool, "OK", "SET", "k", "v")
		conn := pool.Get()
		defer conn.Close()
		sha, err := redis.String(conn.Do("SCRIPT", "LOAD", "return 1"))
		if err != nil {
			t.Fatal(err)
		}

		srv.Start() // nothing, because it runs
		srv.Stop()
		srv.Stop()
		if _, err := conn.Do("PING"); err == nil {
			t.Error("a connection has survived the Stop")
		}
		for _, pool := range []*redis.Pool{pool, srv.Pool()} {
			if _, err := do(t, pool, "PING"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("PING of a server that is stopped: %v, want that it is refused", err)
			}
		}

		srv.Start()
		mustDo(t, pool, "v", "GET", "k")
		if _, err := do(t, pool, "EVALSHA", sha, 0); err == nil || !strings.HasPrefix(err.Error(), "NOSCRIPT") {
			t.Errorf("EVALSHA after a restart: %v, want NOSCRIPT", err)
		}
		start := time.Now()
		if got, err := do(t, pool, "BLPOP", "list", 0.1); got != nil || err != nil || time.Since(start) < time.Second/10 {
			t.Errorf("BLPOP of an empty list after a restart = %v, %v after %v, want nothing after 0.1s", got, err, time.Since(start))
		}
	})
}

// Requests that have arrived do nothing after Stop has returned.
func TestStopIsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		for range 100 {
			conn := srv.Pool().Get()
			for range 100 {
				conn.Send("INCR", "k")
			}
			conn.Flush()
			srv.Stop()
			srv.Flush()
			synctest.Wait()
			srv.Start()
			mustDo(t, srv.Pool(), nil, "GET", "k")
			conn.Close()
		}
	})
}

func TestFlush(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		pool := srv.Pool()
		mustDo(t, pool, "OK", "SET", "k", "v")
		srv.Flush()
		mustDo(t, pool, int64(0), "DBSIZE")
		mustDo(t, pool, "OK", "SET", "k", "v")
		srv.Stop()
		srv.Flush()
		srv.Start()
		mustDo(t, srv.Pool(), int64(0), "DBSIZE")
	})
}

func TestKeysExpire(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		pool := srv.Pool()
		const d = 50 * time.Millisecond
		mustDo(t, pool, "OK", "SET", "k", "v", "PX", d.Milliseconds())
		time.Sleep(d)
		mustDo(t, pool, nil, "GET", "k")

		mustDo(t, pool, "OK", "SET", "k", "v", "PX", d.Milliseconds())
		srv.Stop()
		time.Sleep(d)
		srv.Start()
		pool = srv.Pool() // the connections of the other are broken
		mustDo(t, pool, nil, "GET", "k")

		mustDo(t, pool, "OK", "MSET", "k", "v", "other", "v")
		srv.Expire("k")
		mustDo(t, pool, nil, "GET", "k")
		srv.Stop()
		srv.Expire("other")
		srv.Start()
		mustDo(t, srv.Pool(), int64(0), "DBSIZE")
	})
}

// A client may send much before it reads the first reply.
func TestPipeline(t *testing.T) {
	inBoth(t, func(t *testing.T) {
		conn := setlocktest.NewServer(t).Pool().Get()
		defer conn.Close()
		const n = 1000
		message := strings.Repeat("x", 200) // no buffer holds all of them
		for range n {
			if err := conn.Send("ECHO", message); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		for range n {
			if got, err := redis.String(conn.Receive()); got != message || err != nil {
				t.Fatalf("ECHO = %d bytes, %v, want %d", len(got), err, len(message))
			}
		}
	})
}

func TestReplicasDoNotConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &setlock.Lock{Key: "k", Pool: setlocktest.NewServer(t).Pool(), Replicas: 1}
		if _, err := l.Lock(t.Context(), time.Minute); err == nil {
			t.Error("acquired, without a replica")
		}
	})
}

// The pools have the time-outs of redispool.
func TestTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		pool := srv.Pool()
		srv.CutOff(pool)
		conn := pool.Get()
		defer conn.Close()
		start := time.Now()
		_, err := conn.Do("PING")
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() || time.Since(start) != redispool.DefaultReadTimeout {
			t.Errorf("PING of a server that does not answer: %v after %v, want a timeout after %v", err, time.Since(start), redispool.DefaultReadTimeout)
		}
	})
}

// A recorder is a T whose errors do not fail the test.
type recorder struct {
	testing.TB
	errors int
}

func (r *recorder) Errorf(string, ...any) { r.errors++ }
func (r *recorder) Error(...any)          { r.errors++ }

func TestMisuseFailsTheTest(t *testing.T) {
	r := &recorder{TB: t}
	srv, other := setlocktest.NewServer(r), setlocktest.NewServer(r)
	pool := other.Pool()
	for name, misuse := range map[string]func(){
		"Expire of a key that does not exist": func() { srv.Expire("k") },
		"CutOff of another's pool":            func() { srv.CutOff(pool) },
		"Refuse of another's pool":            func() { srv.Refuse(pool) },
		"Reconnect of another's pool":         func() { srv.Reconnect(pool) },
		"CutOff of no pool":                   func() { srv.CutOff(nil) },
	} {
		r.errors = 0
		if misuse(); r.errors != 1 {
			t.Errorf("%s: %d errors, want 1", name, r.errors)
		}
	}
	mustDo(t, pool, "PONG", "PING")
}

// The end of the test ends what the server and its pools have, whatever is wrong at the time.
// The bubble and goleak fail a test that leaves a goroutine.
func TestEnd(t *testing.T) {
	for name, last := range map[string]func(*setlocktest.Server, *redis.Pool){
		"works":   func(*setlocktest.Server, *redis.Pool) {},
		"stopped": func(srv *setlocktest.Server, _ *redis.Pool) { srv.Stop() },
		"cut off": func(srv *setlocktest.Server, pool *redis.Pool) { srv.CutOff(pool) },
		"refused": func(srv *setlocktest.Server, pool *redis.Pool) { srv.Refuse(pool) },
		"cut off, and stopped": func(srv *setlocktest.Server, pool *redis.Pool) {
			srv.CutOff(pool)
			srv.Stop()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T) {
				done := make(chan struct{})
				t.Cleanup(func() { <-done })
				srv := setlocktest.NewServer(t)
				pool := srv.Pool()
				subscriber := redis.PubSubConn{Conn: pool.Get()} // never closed
				if err := subscriber.Subscribe("channel"); err != nil {
					t.Fatal(err)
				}
				subscriber.Receive()
				go func() { // joined at the end of t, after the end of srv
					defer close(done)
					for {
						if _, failed := subscriber.ReceiveWithTimeout(0).(error); failed {
							return
						}
					}
				}()
				mustDo(t, pool, int64(1), "PUBLISH", "channel", "message")
				last(srv, pool)
				conn := pool.Get() // nor this one
				conn.Send("SET", "k", "v")
				conn.Flush()
			})
		})
	}
}
