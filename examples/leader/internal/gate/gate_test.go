package gate_test

import (
	"io"
	"net"
	"testing"
	"time"

	"example.com/setlock/examples/leader/internal/gate"
	"example.com/setlock/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// echo returns the address of a server that returns what it gets.
func echo(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with its connection
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func newGate(t *testing.T, server string) *gate.Gate {
	g, err := gate.New(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func dial(t *testing.T, g *gate.Gate) net.Conn {
	c, err := net.Dial("tcp", g.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// answer sends text and returns what comes back within the time.
func answer(c net.Conn, text string, within time.Duration) (string, error) {
	c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	b := make([]byte, len(text))
	n, err := io.ReadFull(c, b)
	return string(b[:n]), err
}

func TestGate(t *testing.T) {
	g := newGate(t, echo(t))
	old := dial(t, g)
	if got, err := answer(old, "one", 5*time.Second); got != "one" {
		t.Fatalf("an open gate answers %q, %v", got, err)
	}
	g.Cut()
	g.Cut()
	fresh := dial(t, g)
	for _, c := range []net.Conn{old, fresh} {
		if got, err := answer(c, "two", 50*time.Millisecond); err == nil {
			t.Errorf("a cut gate answers %q", got)
		}
	}
	g.Heal()
	g.Heal()
	for _, c := range []net.Conn{old, fresh} {
		if got, err := answer(c, "six", 5*time.Second); got != "two" {
			t.Errorf("a healed gate answers %q, %v, want what was held", got, err)
		}
	}
}

func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if got, err := answer(dial(t, newGate(t, l.Addr().String())), "one", 5*time.Second); err == nil {
		t.Errorf("answer %q from no server", got)
	}
}

// Close ends connections, also those of a cut gate.
func TestClose(t *testing.T) {
	g, err := gate.New(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	old := dial(t, g)
	answer(old, "one", 5*time.Second)
	g.Cut()
	fresh := dial(t, g)
	answer(old, "two", time.Millisecond)
	g.Close()
	for _, c := range []net.Conn{old, fresh} {
		if got, err := answer(c, "three", 5*time.Second); err == nil {
			t.Errorf("a closed gate answers %q", got)
		}
	}
	if c, err := net.Dial("tcp", g.Addr()); err == nil {
		c.Close()
		t.Error("a closed gate listens")
	}
}
