package redistest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Faults are what is wrong with a Network. The zero Faults are a network that
// works.
type Faults struct {
	HoldRequests bool          // what clients send arrives when this ends, also from clients that have gone
	HoldReplies  bool          // what servers send arrives when this ends
	LoseReplies  bool          // what servers send is lost
	Refuse       bool          // nobody can connect
	Delay        time.Duration // everything that is sent arrives so much later
}

// Silent is a network in which nothing arrives, in either direction.
var Silent = Faults{HoldRequests: true, HoldReplies: true}

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
	closed bool
	work   sync.WaitGroup
}

var errRefused = errors.New("redistest: connection refused")

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
		return nil, &net.OpError{Op: "dial", Net: "redistest", Err: errRefused}
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
	if n.closed {
		client.Close()
		near.Close()
		server.Close()
		return nil, errRefused
	}
	n.links[l] = struct{}{}
	n.pump(l, &l.requests, near, server, func(f Faults) bool { return f.HoldRequests }, func(Faults) bool { return false })
	n.pump(l, &l.replies, server, near, func(f Faults) bool { return f.HoldReplies }, func(f Faults) bool { return f.LoseReplies })
	return client, nil
}

// A link is one connection through the network.
type link struct {
	network *Network
	near    net.Conn // our end of the client's connection
	server  net.Conn

	// Guarded by Network.mu.
	requests, replies queue
	broken            bool
	ended             int // directions that have ended
}

// breakLocked ends both directions at once.
func (l *link) breakLocked() {
	l.broken = true
	l.near.Close()
	l.server.Close()
	l.network.change.Broadcast()
}

// A queue is what is on its way in one direction.
type queue struct {
	chunks []chunk
	eof    bool // the sender has closed
}

type chunk struct {
	data []byte
	due  time.Time
}

// pump carries one direction of l: one goroutine takes whatever comes, another
// delivers it as the faults allow.
func (n *Network) pump(l *link, q *queue, from, to net.Conn, held, lost func(Faults) bool) {
	n.work.Add(2)
	go func() {
		defer n.work.Done()
		for {
			buffer := make([]byte, 4096)
			k, err := from.Read(buffer)
			n.mu.Lock()
			if k > 0 {
				q.chunks = append(q.chunks, chunk{buffer[:k], time.Now().Add(n.faults.Delay)})
			}
			q.eof = q.eof || err != nil
			n.change.Broadcast()
			n.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	go func() {
		defer n.work.Done()
		for {
			n.mu.Lock()
			for !l.broken && (held(n.faults) || len(q.chunks) == 0 && !q.eof) {
				n.change.Wait()
			}
			if l.broken || len(q.chunks) == 0 {
				// The end, for the other side too once it has what was sent.
				to.Close()
				if l.ended++; l.ended == 2 {
					from.Close()
					delete(n.links, l)
				}
				n.mu.Unlock()
				return
			}
			next := q.chunks[0]
			q.chunks = q.chunks[1:]
			drop := lost(n.faults)
			n.mu.Unlock()
			time.Sleep(time.Until(next.due))
			if !drop {
				to.Write(next.data) // fails when that side has gone
			}
		}
	}()
}
