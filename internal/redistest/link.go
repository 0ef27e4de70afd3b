package redistest

import (
	"math/rand/v2"
	"net"
	"time"
)

// A link is one connection through the network.
type link struct {
	network *Network
	near    net.Conn // our end of the client's connection
	server  net.Conn

	// Guarded by Network.mu.
	requests, replies queue
	broken            bool
	deaf              bool // a reply was lost: a stream does not go on behind a gap
	ended             int  // directions that have ended
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
func (n *Network) pump(l *link, q *queue, from, to net.Conn, held func(Faults) bool) {
	n.work.Add(2)
	go func() {
		defer n.work.Done()
		for {
			buffer := make([]byte, 4096)
			k, err := from.Read(buffer)
			n.mu.Lock()
			if k > 0 {
				due := time.Now().Add(n.faults.Delay)
				if q == &l.replies {
					due = due.Add(rand.N(n.faults.Jitter + 1))
				}
				q.chunks = append(q.chunks, chunk{buffer[:k], due})
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
			n.mu.Unlock()
			time.Sleep(time.Until(next.due))
			if q == &l.replies {
				next.data = n.withNext(q, next.data)
			}
			n.deliver(l, q, next.data, to)
		}
	}()
}

// deliver carries one chunk of l to its end.
func (n *Network) deliver(l *link, q *queue, data []byte, to net.Conn) {
	n.mu.Lock()
	if q == &l.replies {
		l.deaf = l.deaf || n.faults.LoseReplies
		deaf := l.deaf
		n.mu.Unlock()
		if !deaf {
			to.Write(data) // fails when that side has gone
		}
		return
	}
	breaks := false
	if n.match != nil && n.match(data) {
		n.match = nil
		switch n.fate {
		case Lose:
			l.deaf = true
		case Break:
			l.deaf, breaks = true, true
		case Swallow:
			l.breakLocked()
		case OneWay:
			n.faults.HoldReplies = true
		}
	}
	n.mu.Unlock()
	to.Write(data)
	if breaks {
		n.mu.Lock()
		l.breakLocked()
		n.mu.Unlock()
	}
}

// withNext returns data and, behind it, what arrives at the same time, as one piece.
func (n *Network) withNext(q *queue, data []byte) []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(q.chunks) > 0 && !time.Now().Before(q.chunks[0].due) {
		data = append(data, q.chunks[0].data...)
		q.chunks = q.chunks[1:]
	}
	return data
}
