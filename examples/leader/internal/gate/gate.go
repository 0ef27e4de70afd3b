// Package gate is a network between one replica and Redis that can be interrupted.
package gate

import (
	"io"
	"net"
	"sync"
	"time"
)

// dialTimeout bounds the dial to the server.
const dialTimeout = time.Second

// A Gate passes on what arrives at its address to a server, and the answers back. While it is cut,
// it holds what arrives, as a network does that loses packets which are sent again later.
type Gate struct {
	server   string
	listener net.Listener
	done     chan struct{} // closed by Close
	work     sync.WaitGroup

	mu    sync.Mutex
	open  chan struct{} // closed unless the Gate is cut
	cut   bool
	conns map[net.Conn]struct{}
}

// New returns a Gate to the server at this address. It listens on the loopback.
func New(server string) (*Gate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &Gate{server: server, listener: l, done: make(chan struct{}), open: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	close(g.open)
	g.work.Go(g.accept)
	return g, nil
}

// Addr returns the address at which the server can be reached through g.
func (g *Gate) Addr() string { return g.listener.Addr().String() }

// Cut holds everything until Heal.
func (g *Gate) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.cut {
		g.cut, g.open = true, make(chan struct{})
	}
}

// Heal delivers what was held.
func (g *Gate) Heal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut {
		g.cut = false
		close(g.open)
	}
}

// Close closes all connections, and returns when nothing runs any more. It may be called once.
func (g *Gate) Close() {
	close(g.done)
	g.listener.Close()
	g.mu.Lock()
	for c := range g.conns {
		c.Close()
	}
	g.mu.Unlock()
	g.work.Wait()
}

func (g *Gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			select {
			case <-g.done:
				return
			case <-time.After(time.Millisecond): // for example too many open files
				continue
			}
		}
		g.work.Go(func() { g.pass(client) })
	}
}

// pass connects client with the server until either of them ends.
func (g *Gate) pass(client net.Conn) {
	defer client.Close()
	if !g.keep(client) {
		return
	}
	defer g.forget(client)
	if !g.wait() {
		return
	}
	server, err := net.DialTimeout("tcp", g.server, dialTimeout)
	if err != nil {
		return
	}
	defer server.Close()
	if !g.keep(server) {
		return
	}
	defer g.forget(server)
	var back sync.WaitGroup
	back.Go(func() {
		g.copy(client, server)
		client.Close()
	})
	g.copy(server, client)
	server.Close()
	back.Wait()
}

// copy copies while g is open.
func (g *Gate) copy(to io.Writer, from io.Reader) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !g.wait() {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			g.wait() // a cut network does not tell that the other side has ended
			return
		}
	}
}

// wait blocks while g is cut. It reports false when g is closed.
func (g *Gate) wait() bool {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return true
	case <-g.done:
		return false
	}
}

// keep makes Close close c. It reports false when g is closed already.
func (g *Gate) keep(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.done:
		return false
	default:
		g.conns[c] = struct{}{}
		return true
	}
}

func (g *Gate) forget(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}
