package setlock

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
)

const (
	// lineQuiet is after how much silence the connection for announcements is
	// checked by a PING. It is also checked when a look at a lock found what
	// no announcement had told, so this one may be rare.
	lineQuiet = 2 * time.Minute
	// linePatience is how long the answer may take.
	linePatience = 5 * time.Second
	// lineRedial is the longest pause between two dials.
	lineRedial = 5 * time.Second
	// lineDialFor bounds a DialContext.
	lineDialFor = 10 * time.Second
)

// A line is the connection for the announcements of a Pool, dialled again when
// it breaks, from the first subscription to the last.
type line struct {
	hub    *hub
	pool   *redis.Pool
	clock  clock.Clock
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{} // one slot: changed or doubted

	// Guarded by hub.mu.
	topics  map[string]*topic   // by channel
	changed map[string]struct{} // channels whose topic came or went
	doubted bool                // somebody asks for a check
	heard   bool                // something came since this was last asked
}

// A topic is a channel to which somebody subscribes.
type topic struct {
	subscribers []*subscription
	confirmed   bool // Redis has said that it sends us this channel
}

// newLine starts a line. It keeps nothing of ctx but its values.
func newLine(ctx context.Context, h *hub, pool *redis.Pool) *line {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n := &line{
		hub:    h,
		pool:   pool,
		clock:  clock.FromContext(ctx),
		cancel: cancel,
		done:   make(chan struct{}),
		wake:   make(chan struct{}, 1),
		topics: make(map[string]*topic),

		changed: make(map[string]struct{}),
	}
	go n.run(ctx) // joined by the close of the last subscription
	return n
}

func (n *line) run(ctx context.Context) {
	defer close(n.done)
	pause := newBackOff(lineRedial)
	for ctx.Err() == nil {
		if conn := n.dial(ctx); conn != nil {
			start := n.clock.Now()
			n.talk(ctx, conn)
			n.down()
			if clock.Elapsed(start, n.clock.Now()) > lineRedial {
				pause.Reset()
			}
		}
		sleep(ctx, pause.NextBackOff())
	}
}

// dial returns a connection, or nil. A Dial that does not return is left behind
// when ctx ends.
func (n *line) dial(ctx context.Context) redis.Conn {
	dialled := make(chan redis.Conn)
	go func() {
		bounded, cancel := clock.WithTimeout(ctx, lineDialFor)
		defer cancel()
		conn, err := dial(bounded, n.pool)
		if err != nil {
			conn = nil
		}
		select {
		case dialled <- conn:
		case <-ctx.Done():
			if conn != nil {
				conn.Close()
			}
		}
	}()
	select {
	case conn := <-dialled:
		return conn
	case <-ctx.Done():
		return nil
	}
}

func dial(ctx context.Context, pool *redis.Pool) (redis.Conn, error) {
	if pool.DialContext != nil {
		return pool.DialContext(ctx)
	}
	return pool.Dial()
}

// talk subscribes and listens on conn until that breaks or ctx ends.
func (n *line) talk(ctx context.Context, conn redis.Conn) {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		n.listen(conn)
	}()
	// Closing a connection of redigo ends its Receive and its Flush.
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		conn.Close()
	})
	defer func() {
		if !stop() {
			<-closed
		}
		conn.Close()
		<-gone
	}()

	timer := n.clock.NewTimer(lineQuiet)
	defer timer.Stop()
	n.forget()
	n.doubt() // a connection that takes what it is sent and never answers
	for pinged := false; ; {
		channels, doubted := n.due()
		for channel, command := range channels {
			conn.Send(command, channel)
		}
		if doubted && !pinged {
			pinged = true
			n.wasHeard() // what came before is no answer
			conn.Send("PING")
			timer.Reset(linePatience)
		}
		if conn.Flush() != nil {
			return
		}
		select {
		case <-n.wake:
		case <-timer.C():
			switch heard := n.wasHeard(); {
			case heard:
				pinged = false
				timer.Reset(lineQuiet)
			case pinged:
				return // no answer
			default:
				n.forget()
				n.doubt()
			}
		case <-gone:
			return
		case <-ctx.Done():
			return
		}
	}
}

// change notes that the topic of a channel came or went. hub.mu is locked.
func (n *line) change(channel string) {
	n.changed[channel] = struct{}{}
	notify(n.wake)
}

// doubt asks for a PING.
func (n *line) doubt() {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.doubted = true
	notify(n.wake)
}

// forget has every topic that Redis has not confirmed, because it refused or
// because the connection is new, asked for again.
func (n *line) forget() {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	for channel, t := range n.topics {
		if !t.confirmed {
			n.change(channel)
		}
	}
}

// due returns the command to send for each channel, and whether somebody asked
// for a check.
func (n *line) due() (commands map[string]string, doubted bool) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	commands = make(map[string]string, len(n.changed))
	for channel := range n.changed {
		switch t := n.topics[channel]; {
		case t == nil:
			commands[channel] = "UNSUBSCRIBE"
		case !t.confirmed:
			commands[channel] = "SUBSCRIBE"
		}
	}
	clear(n.changed)
	doubted, n.doubted = n.doubted, false
	return commands, doubted
}

// wasHeard reports whether anything came since the last call.
func (n *line) wasHeard() bool {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	heard := n.heard
	n.heard = false
	return heard
}

// listen receives from conn until that breaks.
func (n *line) listen(conn redis.Conn) {
	for {
		reply, err := redis.ReceiveWithTimeout(conn, 0)
		if err != nil && !isAnswer(err) {
			return
		}
		n.hear(reply)
	}
}

// hear passes on what Redis has sent. What it does not know, it ignores.
func (n *line) hear(reply any) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.heard = true
	values, _ := reply.([]any)
	if len(values) != 3 {
		return // the answer to a PING, or to what was refused
	}
	kind, _ := values[0].([]byte)
	channel, _ := values[1].([]byte)
	t := n.topics[string(channel)]
	if t == nil {
		return
	}
	data, isMessage := values[2].([]byte)
	switch {
	case string(kind) == "subscribe":
		t.confirmed = true
		for _, s := range t.subscribers {
			s.up, s.look = true, true
			notify(s.signal)
		}
	case string(kind) == "message" && isMessage:
		for _, s := range t.subscribers {
			s.news = data
			notify(s.signal)
		}
	}
}

// down tells every subscriber that announcements do not arrive any more.
func (n *line) down() {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	for _, t := range n.topics {
		t.confirmed = false
		for _, s := range t.subscribers {
			s.up = false
			notify(s.signal)
		}
	}
}
