package redistest

import (
	"context"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Faults are what is wrong with a Network. The zero Faults are a network that
// works.
type Faults struct {
	HoldRequests bool          // what clients send arrives when this ends, also from clients that have gone
	HoldReplies  bool          // what servers send arrives when this ends
	LoseReplies  bool          // what servers send is lost, and so is the rest of what that connection would bring
	Refuse       bool          // nobody can connect
	Delay        time.Duration // everything that is sent arrives so much later
	Jitter       time.Duration // what servers send arrives later by a random time up to this, and in order on each connection
}

// Silent is a network in which nothing arrives, in either direction.
var Silent = Faults{HoldRequests: true, HoldReplies: true}

// A Fate is what becomes of one request, when it arrives.
type Fate int

// The fates of a request that arrives.
const (
	Lose    Fate = iota // its reply is lost, and nothing comes on its connection any more
	Break               // its connection breaks behind it, before the reply
	Swallow             // its connection breaks before it: the request is lost
	OneWay              // from now on replies are held, until Set
)

// A Network lies between clients and a server. All methods may be called
// concurrently. Whatever is sent to it, it takes at once, so that neither side
// blocks in a write.
type Network struct {
	dial Dialer

	mu     sync.Mutex
	change *sync.Cond // faults, links or the queue of a pipe have changed
	faults Faults
	links  map[*link]struct{}
	doors  []net.Listener
	match  func(request []byte) bool // whose fate is special; nil: nobody's
	fate   Fate
	closed bool
	work   sync.WaitGroup
}

var errRefused = &net.OpError{Op: "dial", Net: "redistest", Err: syscall.ECONNREFUSED}

// NewNetwork returns a Network to the server that dial reaches. It ends with t.
func NewNetwork(t testing.TB, dial Dialer) *Network {
	n := &Network{dial: dial, links: make(map[*link]struct{})}
	n.change = sync.NewCond(&n.mu)
	t.Cleanup(n.close)
	return n
}

// Set makes f what is wrong from now on; what was held and is not any more, is
// delivered.
func (n *Network) Set(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = f
	n.change.Broadcast()
}

// Reset breaks every connection. What was on its way is lost.
func (n *Network) Reset() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.links {
		l.breakLocked()
	}
}

// Next gives the next request that match accepts a fate of its own; without one, nil, none
// has. match sees each request that is sent, as one piece of up to 4096
// bytes, and must not call n.
func (n *Network) Next(match func(request []byte) bool, fate Fate) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.match, n.fate = match, fate
}

// HangUp closes every connection as the kernel does for a process that is killed: what was sent
// arrives, nothing else does, and nobody connects any more.
func (n *Network) HangUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for l := range n.links {
		l.near.Close()
	}
}

// Open returns how many connections their clients have not closed.
func (n *Network) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	open := 0
	for l := range n.links {
		if !l.broken && !l.requests.eof {
			open++
		}
	}
	return open
}

func (n *Network) close() {
	n.mu.Lock()
	n.closed = true
	for _, door := range n.doors {
		door.Close()
	}
	for l := range n.links {
		l.breakLocked()
	}
	n.mu.Unlock()
	n.work.Wait()
}

// Listen returns an address, on a free port of the loopback, for those that cannot call
// Dial: other processes. It accepts whatever happens; where Dial fails, it
// closes the connection.
func (n *Network) Listen(t testing.TB) string {
	t.Helper()
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.doors = append(n.doors, door)
	n.work.Go(func() {
		for {
			conn, err := door.Accept()
			if err != nil {
				return
			}
			n.work.Go(func() { n.pass(conn) })
		}
	})
	return door.Addr().String()
}

// pass connects conn with the server, until either side ends.
func (n *Network) pass(conn net.Conn) {
	defer conn.Close()
	through, err := n.Dial(context.Background())
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(conn, through)
		conn.Close()
	})
	io.Copy(through, conn)
	through.Close()
	back.Wait()
}

// Dial opens a connection through the network.
func (n *Network) Dial(ctx context.Context) (net.Conn, error) {
	n.mu.Lock()
	refuse, delay := n.faults.Refuse || n.closed, n.faults.Delay
	n.mu.Unlock()
	if refuse {
		return nil, errRefused
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	server, err := n.dial(ctx)
	if err != nil {
		return nil, err
	}
	client, near := net.Pipe()
	l := &link{network: n, near: near, server: server}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.faults.Refuse || n.closed { // meanwhile
		client.Close()
		near.Close()
		server.Close()
		return nil, errRefused
	}
	n.links[l] = struct{}{}
	n.pump(l, &l.requests, near, server, func(f Faults) bool { return f.HoldRequests })
	n.pump(l, &l.replies, server, near, func(f Faults) bool { return f.HoldReplies })
	return client, nil
}
