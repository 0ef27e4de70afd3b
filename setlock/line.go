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
	// no announcement had told, so this one may be rare. As often, what was refused
	// is asked for again.
	lineQuiet = 2 * time.Minute
	// linePatience is how long an answer may take, and how late an announcement
	// may be after a look has found what it tells.
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
	topics   map[string]*topic   // by channel
	changed  map[string]struct{} // channels whose topic came or went
	sent     []command           // what has no reply yet, in order
	heard    time.Time           // when something came last
	forgot   time.Time           // when forget was called last
	doubted  bool                // somebody asks for a check
	doubts   []doubt             // in order; of those that are over, some are left
	replaced time.Time           // when a doubt last ended a connection
}

// A topic is a channel to which somebody subscribes.
type topic struct {
	subscribers []*subscription
	confirmed   bool      // Redis has said that it sends us this channel
	untold      time.Time // when a look found what was not announced here, nor anything since; zero: none did
}

// A command is on its way, or its reply is.
type command struct {
	name    string
	channel string // "" for PING
	topic   *topic // of SUBSCRIBE
	sent    time.Time
}

// A doubt is about a connection that has not told of a topic what it should.
type doubt struct {
	topic *topic
	since time.Time     // it is over unless topic.untold is the same
	pause time.Duration // it ends no connection sooner than this after the last
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
			if _, ok := conn.(redis.ConnWithTimeout); !ok {
				conn.Close() // it cannot listen for longer than its own timeout
				sleep(ctx, lineQuiet)
				continue
			}
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
	n.begin()
	for {
		commands, wait, ok := n.due()
		if !ok {
			return
		}
		for _, c := range commands {
			if c.channel == "" {
				conn.Send(c.name)
			} else {
				conn.Send(c.name, c.channel)
			}
		}
		if conn.Flush() != nil {
			return
		}
		timer.Reset(wait)
		select {
		case <-n.wake:
		case <-timer.C():
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

// check asks for a PING. hub.mu is locked.
func (n *line) check() {
	n.doubted = true
	notify(n.wake)
}

// doubt asks for a PING, and waits for an announcement on the topic. hub.mu is locked.
func (n *line) doubt(t *topic, pause time.Duration) {
	if t.untold.IsZero() {
		t.untold = n.clock.Now()
		n.doubts = append(n.doubts, doubt{topic: t, since: t.untold, pause: pause})
	}
	n.check()
}

// begin has a new connection asked for every topic.
func (n *line) begin() {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.sent, n.heard, n.doubted = nil, n.clock.Now(), false
	clear(n.changed)
	n.forget()
}

// forget has every topic that Redis has not confirmed, because it refused or
// because the connection is new, asked for again. hub.mu is locked.
func (n *line) forget() {
	n.forgot = n.clock.Now()
	for channel, t := range n.topics {
		if !t.confirmed {
			n.change(channel)
		}
	}
}

// due returns the commands to send, which are noted as sent, and how long to wait until it is
// to be asked again; false if the connection is to be given up.
func (n *line) due() (commands []command, wait time.Duration, ok bool) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	now := n.clock.Now()
	for done := false; !done; {
		switch state, _ := n.pulse().check(now); state {
		case lineDead:
			return nil, 0, false
		case lineMute:
			d := n.doubts[0]
			if n.replaced.IsZero() || clock.Elapsed(n.replaced, now) >= d.pause {
				n.replaced = now
				return nil, 0, false
			}
			d.topic.untold = time.Time{}
		case lineIdle:
			n.doubted = true
			done = true
		default:
			done = true
		}
	}
	if clock.Elapsed(n.forgot, now) >= lineQuiet {
		n.forget()
	}
	for channel := range n.changed {
		switch t := n.topics[channel]; {
		case t == nil:
			commands = append(commands, command{"UNSUBSCRIBE", channel, nil, now})
		case !t.confirmed:
			commands = append(commands, command{"SUBSCRIBE", channel, t, now})
		}
	}
	clear(n.changed)
	if n.doubted {
		n.doubted = false
		commands = append(commands, command{name: "PING", sent: now})
	}
	n.sent = append(n.sent, commands...)
	_, wait = n.pulse().check(now)
	return commands, wait, true
}

// pulse returns the pulse of the connection. hub.mu is locked.
func (n *line) pulse() pulse {
	for len(n.doubts) > 0 && !n.doubts[0].since.Equal(n.doubts[0].topic.untold) {
		n.doubts = n.doubts[1:]
	}
	p := pulse{heard: n.heard}
	if len(n.sent) > 0 {
		p.asked = n.sent[0].sent
	}
	if len(n.doubts) > 0 {
		p.untold = n.doubts[0].since
	}
	return p
}

// A pulse is what tells whether a connection for announcements is of use.
type pulse struct {
	heard  time.Time // when something came last; at first, when it began
	asked  time.Time // when the oldest command without a reply was sent; zero: all have one
	untold time.Time // when a look first found what is still not announced; zero: none has
}

// What a pulse tells.
const (
	lineFine = iota
	lineIdle // nothing has come for long: ask for an answer
	lineDead // it does not answer
	lineMute // it answers, and does not tell what it should
)

// check returns what the pulse tells at now, and how long that lasts if nothing changes.
func (p pulse) check(now time.Time) (state int, wait time.Duration) {
	wait, state = lineQuiet-clock.Elapsed(p.heard, now), lineIdle
	switch {
	case !p.asked.IsZero():
		wait = linePatience - min(clock.Elapsed(p.asked, now), clock.Elapsed(p.heard, now))
		state = lineDead
	case !p.untold.IsZero():
		if left := linePatience - clock.Elapsed(p.untold, now); left <= wait {
			wait, state = left, lineMute
		}
	}
	if wait > 0 {
		return lineFine, wait
	}
	return state, 0
}

// listen receives from conn until that breaks.
func (n *line) listen(conn redis.Conn) {
	for {
		reply, err := redis.ReceiveWithTimeout(conn, 0)
		if err != nil && !isAnswer(err) {
			return
		}
		n.hear(reply, err)
	}
}

// hear passes on what Redis has sent: an announcement, or the reply to a command, which
// may be a refusal. What it does not know, it ignores.
func (n *line) hear(reply any, refusal error) {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.heard = n.clock.Now()
	if refusal != nil {
		if len(n.sent) > 0 {
			n.sent = n.sent[1:]
		}
		return
	}
	if reply == "PONG" {
		n.answered("PING", "") // while nothing is subscribed to
		return
	}
	values, _ := reply.([]any)
	if len(values) < 2 {
		return
	}
	kind, _ := values[0].([]byte)
	channel, _ := values[1].([]byte)
	t := n.topics[string(channel)]
	switch string(kind) {
	case "message":
		data, ok := values[len(values)-1].([]byte)
		if t == nil || !ok || len(values) != 3 {
			return
		}
		t.untold = time.Time{}
		for _, s := range t.subscribers {
			s.news = data
			notify(s.signal)
		}
	case "subscribe":
		// A command that was sent for this channel later belongs to another topic.
		if c, ok := n.answered("SUBSCRIBE", string(channel)); !ok || t == nil || t != c.topic {
			return
		}
		t.confirmed = true
		for _, s := range t.subscribers {
			s.up, s.look = true, true
			notify(s.signal)
		}
	case "unsubscribe":
		n.answered("UNSUBSCRIBE", string(channel))
	case "pong":
		n.answered("PING", "")
	}
}

// answered returns the first command of this kind that has no reply, and takes note of
// its reply. Redis replies in order, so whatever was sent before it will have none.
// hub.mu is locked.
func (n *line) answered(name, channel string) (command, bool) {
	for i, c := range n.sent {
		if c.name == name && c.channel == channel {
			n.sent = n.sent[i+1:]
			return c, true
		}
	}
	return command{}, false
}

// down tells every subscriber that announcements do not arrive any more.
func (n *line) down() {
	n.hub.mu.Lock()
	defer n.hub.mu.Unlock()
	n.doubts = nil
	for _, t := range n.topics {
		t.confirmed, t.untold = false, time.Time{}
		for _, s := range t.subscribers {
			s.up = false
			notify(s.signal)
		}
	}
}
