package election_test

import (
	"context"
	"errors"
	"example.com/setlock/internal/protocol"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

// What the server knows of connections, and what can happen to some and not to others.

// A link is a connection, as the server sees it. It is guarded by simulation.mu.
type link struct {
	p          *peer // nil: the onlooker's
	conn       net.Conn
	subscribed time.Time // since when it has the announcements; zero: it has not
	old        string    // how it answers since a failover: it leads to what was the server
	answered   time.Time // when it has first answered that its server does not serve
	values     []string  // of what was asked for since the last WAIT
}

// dial opens a connection to the server for p, and tells the server whose it is.
func (s *simulation) dial(ctx context.Context, p *peer) (net.Conn, error) {
	conn, err := s.server.Dial(ctx)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.dials++
	name := fmt.Sprint(s.dials)
	s.fresh[name] = &link{p: p, conn: conn}
	s.mu.Unlock()
	if _, err = fmt.Fprintf(conn, "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$%d\r\n%s\r\n", len(name), name); err == nil {
		_, err = io.ReadFull(conn, make([]byte, len("+OK\r\n")))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (s *simulation) introduced(c *server.Peer, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links[c] = s.fresh[name]
	delete(s.fresh, name)
	c.OnDisconnect(func() { s.set(func() { delete(s.links, c) }) })
}

// A socket is the end of a connection that p has.
type socket struct {
	net.Conn
	p      *peer
	closed atomic.Bool
}

// dial opens a connection through the network of p.
func (p *peer) dial(ctx context.Context) (net.Conn, error) {
	conn, err := p.network.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return &socket{Conn: conn, p: p}, nil
}

func (k *socket) Close() error {
	k.closed.Store(true)
	return k.Conn.Close()
}

func (k *socket) Read(b []byte) (int, error) {
	n, err := k.Conn.Read(b)
	k.note(err)
	return n, err
}

func (k *socket) Write(b []byte) (int, error) {
	n, err := k.Conn.Write(b)
	k.note(err)
	return n, err
}

// note notes that p has met a connection that was broken.
func (k *socket) note(err error) {
	if err != nil && !k.closed.Load() && !errors.Is(err, os.ErrDeadlineExceeded) {
		k.p.s.set(func() { k.p.broken = append(k.p.broken, time.Now()) })
	}
}

// notServing are the answers after which a connection is of no use any more.
var notServing = []string{"READONLY", "MOVED", "MASTERDOWN", "CLUSTERDOWN", "LOADING"}

// refuses returns the error with which the server answers a command, "" for none.
func (s *simulation) refuses(c *server.Peer, cmd string, args []string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[c]
	if l == nil || !strings.HasPrefix(cmd, "EVAL") {
		return s.answer
	}
	now := time.Now()
	if at := l.answered; l.p != nil && !at.IsZero() && now.Sub(at) > s.slack() && l.p.reaches(at, now) && !l.p.machine.asleep(s.glance()) {
		s.errorf("%s: has used a connection again that had answered %q", l.p.name, l.old+s.answer)
	}
	for _, arg := range args[2:] {
		if protocol.NameOf(args[0]) == "acquire" && strings.Contains(arg, ":") {
			l.values = append(l.values, arg)
		}
	}
	answer := s.answer
	if l.old != "" {
		answer = l.old
		if l.p != nil && l.answered.IsZero() {
			l.p.burnt = append(l.p.burnt, now)
		}
	}
	kind, _, _ := strings.Cut(answer, " ")
	if l.answered.IsZero() && slices.Contains(notServing, kind) {
		l.answered = now
	}
	return answer
}

// failover has another server take over, with all data: old connections lead to the one
// that was the server, for good.
func (s *simulation) failover(_ *peer, _ time.Duration) {
	kind := notServing[s.rand.IntN(len(notServing))]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note("old connections answer %s", kind)
	for _, l := range s.links {
		if l.old == "" {
			l.old = kind + " old"
		}
	}
}

// haunted reports whether there are old connections.
func (s *simulation) haunted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.links {
		if l.old != "" {
			return true
		}
	}
	return false
}

// flap has every connection of p that subscribes end, nil for all, for up to four
// times d. Announcements do not arrive then, and nothing else is wrong.
func (s *simulation) flap(p *peer, d time.Duration) {
	flaps := &s.flaps
	if p != nil {
		flaps = &p.flaps
	}
	var ends []net.Conn
	s.mu.Lock()
	*flaps++
	for _, l := range s.links {
		if !l.subscribed.IsZero() && (p == nil || l.p == p) {
			ends = append(ends, l.conn)
		}
	}
	s.mu.Unlock()
	for _, conn := range ends {
		conn.Close()
	}
	s.after(d*time.Duration(1+s.rand.IntN(4)), func() { s.set(func() { *flaps-- }) })
}

// ends reports whether a connection ends because it subscribes. If not, it has
// announcements from now on.
func (s *simulation) ends(c *server.Peer, channels []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[c]
	if l == nil {
		return false
	}
	if s.flaps > 0 || l.p != nil && l.p.flaps > 0 {
		c.Close()
		return true
	}
	if l.subscribed.IsZero() && slices.Contains(channels, lockChannel) {
		l.subscribed = time.Now()
	}
	return false
}

func (s *simulation) unsubscribed(c *server.Peer, channels []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.links[c]; l != nil && slices.Contains(channels, lockChannel) {
		l.subscribed = time.Time{}
	}
}

// listened reports whether p, nil for the onlooker, has announcements, and had them for a
// moment before since. s.mu is locked.
func (s *simulation) listened(p *peer, since time.Time) bool {
	for _, l := range s.links {
		if l.p == p && !l.subscribed.IsZero() && since.Sub(l.subscribed) > s.slack() {
			return p == nil || !p.deaf
		}
	}
	return false
}
