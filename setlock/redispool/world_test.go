package redispool_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock/redispool"
)

// A world is servers in memory, by their addresses, in virtual time.
type world struct {
	t *testing.T

	mu      sync.Mutex
	servers map[string]*fake
}

// A fake is a server that answers as it is told.
type fake struct {
	*redistest.Network
	mu      sync.Mutex
	answers map[string]string // to a command and its arguments, as they are on the wire
	asked   []string
}

func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, &world{t: t, servers: make(map[string]*fake)})
	})
}

// add starts a server. answers are pairs of a command and its answer.
func (w *world) add(addr string, answers ...string) *fake {
	redis := redistest.NewEmbedded(w.t)
	f := &fake{Network: redistest.NewNetwork(w.t, redis.Dial), answers: make(map[string]string)}
	conn, err := redis.Dial(w.t.Context()) // starts the server
	if err != nil {
		w.t.Fatal(err)
	}
	conn.Close()
	redis.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		asked := strings.Join(append([]string{cmd}, args...), " ")
		f.mu.Lock()
		defer f.mu.Unlock()
		f.asked = append(f.asked, asked)
		answer, ok := f.answers[asked]
		if ok {
			c.WriteRaw(answer)
		}
		return ok
	})
	for i := 0; i < len(answers); i += 2 {
		f.answer(answers[i], answers[i+1])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[addr] = f
	return f
}

// answer makes answer what f answers to asked.
func (f *fake) answer(asked, answer string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[asked] = answer
}

// hang makes f accept connections and answer nothing.
func (f *fake) hang() { f.Set(redistest.Silent) }

// was returns what f was asked since the last call of was.
func (f *fake) was() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

// dial is the Dial of a Config.
func (w *world) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	w.mu.Lock()
	f := w.servers[addr]
	w.mu.Unlock()
	if f == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return f.Dial(ctx)
}

// pool returns a pool for a URL.
func (w *world) pool(url string) *redis.Pool {
	w.t.Helper()
	c, err := redispool.ParseURL(url)
	if err != nil {
		w.t.Fatal(err)
	}
	c.Key, c.Dial = "k", w.dial
	return poolOf(w.t, c)
}

// poolOf returns the pool of c, until t ends.
func poolOf(t testing.TB, c *redispool.Config) *redis.Pool {
	t.Helper()
	pool, err := c.Pool()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return pool
}

// finds fails the test unless a dial of pool finds the server at addr within d.
func (w *world) finds(pool *redis.Pool, addr string, d time.Duration) {
	w.t.Helper()
	start := time.Now()
	conn, err := pool.DialContext(w.t.Context())
	if err != nil {
		w.t.Fatalf("looking for %s: %v", addr, err)
	}
	defer conn.Close()
	if took := time.Since(start); took > d {
		w.t.Errorf("found %s after %v, want %v", addr, took, d)
	}
	w.mu.Lock()
	f := w.servers[addr]
	w.mu.Unlock()
	f.was()
	if _, err := conn.Do("PING"); err != nil || !slices.Equal(f.was(), []string{"PING"}) {
		w.t.Errorf("found a connection that does not lead to %s: %v", addr, err)
	}
	w.closed(addr)
}

// closed fails the test if a server has an open connection, with the exception of the one at
// addr, which has one.
func (w *world) closed(addr string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, f := range w.servers {
		want := 0
		if at == addr {
			want = 1
		}
		if got := f.Open(); got != want {
			w.t.Errorf("%d connections to %s, want %d", got, at, want)
		}
	}
}

// fails fails the test unless a dial of pool fails after d, with an error that has all texts.
// It returns this error.
func (w *world) fails(pool *redis.Pool, d time.Duration, texts ...string) error {
	w.t.Helper()
	start := time.Now()
	conn, err := pool.DialContext(w.t.Context())
	if err == nil {
		conn.Close()
		w.t.Fatalf("no error, want %q", texts)
	}
	if took := time.Since(start); took != d {
		w.t.Errorf("%v after %v, want it after %v", err, took, d)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			w.t.Errorf("%v, want %q in it", err, text)
		}
	}
	w.closed("")
	return err
}

// bulks returns an array of strings as it is on the wire.
func bulks(all ...string) string {
	wire := fmt.Sprintf("*%d\r\n", len(all))
	for _, s := range all {
		wire += fmt.Sprintf("$%d\r\n%s\r\n", len(s), s)
	}
	return wire
}

const (
	isPrimary = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
	isReplica = "*3\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n"
	askName   = "SENTINEL get-master-addr-by-name m"
)
