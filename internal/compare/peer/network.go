package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// Network is the network of one client. It is clean until a fault is set.
type Network struct {
	writes atomic.Int64
	silent atomic.Bool

	mu   sync.Mutex
	cut  bool
	open []*conn
}

// errCut is the error of a dial after Cut.
var errCut = errors.New("the network of this client is cut")

// conn embeds *net.TCPConn because go-redis checks the health of a connection by its
// method SyscallConn.
type conn struct {
	*net.TCPConn
	n *Network
}

// Write drops p while the network is silent.
func (c *conn) Write(p []byte) (int, error) {
	if c.n.silent.Load() {
		return len(p), nil
	}
	c.n.writes.Add(1)
	return c.TCPConn.Write(p)
}

// Read drops what arrives while the network is silent.
func (c *conn) Read(p []byte) (int, error) {
	for {
		k, err := c.TCPConn.Read(p)
		if err != nil || !c.n.silent.Load() {
			return k, err
		}
	}
}

// Dial opens a connection. It blocks until ctx ends while the network is silent.
func (n *Network) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if n.silent.Load() && !n.isCut() {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		c.Close()
		return nil, errCut
	}
	t := &conn{TCPConn: c.(*net.TCPConn), n: n}
	n.open = append(n.open, t)
	return t, nil
}

func (n *Network) isCut() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut
}

// Writes returns how often the client has written to a connection.
func (n *Network) Writes() int64 { return n.writes.Load() }

// Silence makes all that the client sends vanish. Nothing arrives, and dials hang.
func (n *Network) Silence() { n.silent.Store(true) }

// Cut closes all connections and refuses new ones, as when the process was killed.
func (n *Network) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
	for _, c := range n.open {
		c.TCPConn.Close()
	}
}
