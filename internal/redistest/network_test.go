package redistest_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/redistest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// client returns one connection through n.
func client(t *testing.T, n *redistest.Network) redis.Conn {
	conn, err := n.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewConn(conn, 0, 0)
	t.Cleanup(func() { c.Close() })
	return c
}

// timedOut reports whether err is a deadline's, of the context or, for redigo hands
// that on, of the connection.
func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := redistest.NewEmbedded(t)
		n := redistest.NewNetwork(t, server.Dial)
		c := client(t, n)
		set := func(value string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := redis.DoContext(c, ctx, "SET", "k", value)
			return err
		}
		if err := set("calm"); err != nil {
			t.Fatalf("calm: %v", err)
		}

		n.Set(redistest.Faults{Delay: 100 * time.Millisecond})
		start := time.Now()
		if err := set("delayed"); err != nil {
			t.Errorf("delayed: %v", err)
		}
		if got := time.Since(start); got != 200*time.Millisecond {
			t.Errorf("a delayed round trip took %v, want 200ms", got)
		}

		n.Set(redistest.Faults{Delay: 100 * time.Millisecond, Jitter: 100 * time.Millisecond})
		start = time.Now()
		if err := set("delayed more"); err != nil {
			t.Errorf("delayed more: %v", err)
		}
		if got := time.Since(start); got < 200*time.Millisecond || got > 300*time.Millisecond {
			t.Errorf("a delayed round trip took %v, want 200 to 300ms", got)
		}

		n.Set(redistest.Faults{LoseReplies: true})
		if err := set("lost reply"); !timedOut(err) {
			t.Errorf("lost reply: %v, want a timeout", err)
		}
		if got, _ := server.Get("k"); got != "lost reply" {
			t.Errorf("key = %q, want what the lost reply was about", got)
		}

		n.Set(redistest.Faults{})
		c = client(t, n)
		n.Set(redistest.Silent)
		if err := set("held"); !timedOut(err) {
			t.Errorf("silence: %v, want a timeout", err)
		}
		c.Close()
		synctest.Wait()
		if got, _ := server.Get("k"); got != "lost reply" {
			t.Errorf("key = %q before the silence ended", got)
		}
		n.Set(redistest.Faults{})
		synctest.Wait()
		if got, _ := server.Get("k"); got != "held" {
			t.Errorf("key = %q after the silence, want what a client that has gone sent", got)
		}

		c = client(t, n)
		n.Reset()
		if err := set("reset"); err == nil {
			t.Error("no error on a connection that was reset")
		}
		n.Set(redistest.Faults{Refuse: true})
		if _, err := n.Dial(t.Context()); err == nil {
			t.Error("no error from a network that refuses")
		}
	})
}

// A network that begins to refuse while a connection is being opened refuses this one too.
func TestRefuseDuringADial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := redistest.NewEmbedded(t)
		var n *redistest.Network
		n = redistest.NewNetwork(t, func(ctx context.Context) (net.Conn, error) {
			defer n.Set(redistest.Faults{Refuse: true})
			return server.Dial(ctx)
		})
		if _, err := n.Dial(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Dial = %v, want that it is refused", err)
		}
		if got := n.Open(); got != 0 {
			t.Errorf("Open = %d, want 0", got)
		}
	})
}

// What a lost reply would have been followed by does not come either.
func TestLostRepliesLeaveNoGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := redistest.NewNetwork(t, redistest.NewEmbedded(t).Dial)
		c := client(t, n)
		n.Set(redistest.Faults{LoseReplies: true})
		c.Send("SET", "k", "v")
		c.Flush()
		synctest.Wait()
		n.Set(redistest.Faults{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := redis.DoContext(c, ctx, "ECHO", "another"); !timedOut(err) {
			t.Errorf("ECHO = %q, %v after a lost reply, want a timeout", got, err)
		}
		if _, err := client(t, n).Do("PING"); err != nil {
			t.Errorf("another connection: %v", err)
		}
	})
}

func TestNext(t *testing.T) {
	for _, test := range []struct {
		name    string
		fate    redistest.Fate
		arrives bool
		broken  bool // at once
		late    bool // the reply comes when the faults end
	}{
		{"lose", redistest.Lose, true, false, false},
		{"break", redistest.Break, true, true, false},
		{"swallow", redistest.Swallow, false, true, false},
		{"one way", redistest.OneWay, true, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := redistest.NewEmbedded(t)
				n := redistest.NewNetwork(t, server.Dial)
				c := client(t, n)
				n.Next(func(request []byte) bool { return bytes.Contains(request, []byte("chosen")) }, test.fate)
				if _, err := c.Do("SET", "other", "v"); err != nil {
					t.Errorf("a request that was not chosen: %v", err)
				}
				replied := make(chan error, 1)
				go func() {
					_, err := c.Do("SET", "chosen", "v")
					replied <- err
				}()
				synctest.Wait()
				if got := server.Exists("chosen"); got != test.arrives {
					t.Errorf("arrived: %v, want %v", got, test.arrives)
				}
				select {
				case err := <-replied:
					if !test.broken || err == nil {
						t.Errorf("replied: %v", err)
					}
				default:
					if test.broken {
						t.Error("the connection is not broken")
					}
				}
				n.Set(redistest.Faults{})
				synctest.Wait()
				if len(replied) > 0 != test.late {
					t.Errorf("a reply came when the faults ended: %v, want %v", len(replied) > 0, test.late)
				}
				if _, err := client(t, n).Do("SET", "chosen", "again"); err != nil {
					t.Errorf("the request after: %v", err)
				}
				n.Reset()
			})
		})
	}
}

func TestHangUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := redistest.NewEmbedded(t)
		n := redistest.NewNetwork(t, server.Dial)
		c := client(t, n)
		other := client(t, n)
		if got := n.Open(); got != 2 {
			t.Errorf("Open = %d, want 2", got)
		}
		other.Close()
		synctest.Wait()
		if got := n.Open(); got != 1 {
			t.Errorf("Open = %d after a Close, want 1", got)
		}
		n.Set(redistest.Faults{HoldRequests: true})
		c.Send("SET", "k", "sent before")
		c.Flush()
		n.HangUp()
		if _, err := c.Do("SET", "k", "sent after"); err == nil {
			t.Error("no error on a connection that was hung up")
		}
		if _, err := n.Dial(t.Context()); err == nil {
			t.Error("no error from a network that was hung up")
		}
		n.Set(redistest.Faults{})
		synctest.Wait()
		if got, _ := server.Get("k"); got != "sent before" {
			t.Errorf("key = %q, want what was sent before", got)
		}
		if got := n.Open(); got != 0 {
			t.Errorf("Open = %d, want 0", got)
		}
	})
}

func TestListen(t *testing.T) {
	s := redistest.NewServer(t)
	n := redistest.NewNetwork(t, s.Dial)
	addr := n.Listen(t)
	through := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	redistest.Do(t, through, "SET", "k", "v")
	c, err := redis.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n.Set(redistest.Silent)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := redis.DoContext(c, ctx, "SET", "k", "held"); !timedOut(err) {
		t.Errorf("silence: %v, want a timeout", err)
	}
	if got, _ := redis.String(redistest.Do(t, s.Dial, "GET", "k"), nil); got != "v" {
		t.Errorf("GET beside a silent network = %q, want v", got)
	}
	n.Reset()
	n.Set(redistest.Faults{Refuse: true})
	c, err = redis.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Do("PING"); err == nil {
		t.Error("no error through a network that refuses")
	}
	n.Set(redistest.Faults{})
	if got, _ := redis.String(redistest.Do(t, through, "GET", "k"), nil); got != "v" {
		t.Errorf("GET after the silence = %q, want v: what was on its way is lost", got)
	}
}
