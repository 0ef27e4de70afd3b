package notify

import (
	"slices"
	"time"

	"example.com/setlock/internal/clock"
)

// A talk is what is known of a connection: what subscribers want, what was sent, and what
// came back. It does no I/O. The connection asks the talk what to send, and passes to it
// what arrives.
type talk struct {
	topics   map[string]*topic // by channel; only topics with a subscriber
	changed  map[string]bool   // channels to SUBSCRIBE to, or to UNSUBSCRIBE from, next
	checking bool              // a PING is to be sent
	sent     []command         // commands without a reply, in the order in which they were sent
	heard    time.Time         // when something arrived last
	retried  time.Time         // when a SUBSCRIBE to all unconfirmed topics was last wanted
	doubts   []doubt           // oldest first; some may be over
	replaced time.Time         // when a doubt last ended a connection
}

// A topic is a channel that has subscribers.
type topic struct {
	listeners []*listener
	confirmed bool      // Redis has replied that it sends the channel's messages
	missing   time.Time // since when a message has been missing; zero: none is missing
}

// A command is a Redis command that was sent and has no reply yet.
type command struct {
	name    string
	channel string // "" for PING
	topic   *topic // for SUBSCRIBE
	sent    time.Time
}

// A doubt says that a message of a topic is missing.
type doubt struct {
	topic *topic
	since time.Time     // when the doubt began; it is over when topic.missing differs
	pause time.Duration // shortest time between two connections that are ended because of a doubt
}

// listen adds l to the listeners of channel.
func (t *talk) listen(channel string, l *listener) {
	c := t.topics[channel]
	if c == nil {
		c = new(topic)
		t.topics[channel] = c
		t.changed[channel] = true
	}
	c.listeners = append(c.listeners, l)
	l.up = c.confirmed
	if l.up {
		l.signal()
	}
}

// leave removes l from the listeners of channel, and the topic of channel with the last one.
func (t *talk) leave(channel string, l *listener) {
	c := t.topics[channel]
	c.listeners = slices.DeleteFunc(c.listeners, func(other *listener) bool { return other == l })
	if len(c.listeners) == 0 {
		c.missing = time.Time{}
		delete(t.topics, channel)
		t.changed[channel] = true
	}
}

// doubt records that a message of channel is missing at now.
func (t *talk) doubt(channel string, pause time.Duration, now time.Time) {
	if c := t.topics[channel]; c.missing.IsZero() {
		c.missing = now
		t.doubts = append(t.doubts, doubt{topic: c, since: now, pause: pause})
	}
	t.checking = true
}

// begin records that a new connection begins at now. Every topic has to be subscribed to.
func (t *talk) begin(now time.Time) {
	t.sent, t.heard, t.checking = nil, now, false
	clear(t.changed)
	t.wantUnconfirmed(now)
}

// end records that the connection has ended, and tells all subscribers that messages do not
// arrive.
func (t *talk) end() {
	t.doubts = nil
	for _, c := range t.topics {
		c.confirmed, c.missing = false, time.Time{}
		for _, s := range c.listeners {
			s.up = false
			s.signal()
		}
	}
}

// wantUnconfirmed makes next send a SUBSCRIBE for every topic that Redis has not confirmed.
// A topic is not confirmed when Redis has refused it, or when the connection is new.
func (t *talk) wantUnconfirmed(now time.Time) {
	t.retried = now
	for channel, c := range t.topics {
		if !c.confirmed {
			t.changed[channel] = true
		}
	}
}

// next returns the commands to send at now, and how long to wait before the next call. It
// records the commands as sent. It returns false when the connection must be given up.
func (t *talk) next(now time.Time) (commands []command, wait time.Duration, ok bool) {
	switch t.condition(now) {
	case dead:
		return nil, 0, false
	case mute:
		t.replaced = now
		return nil, 0, false
	case idle:
		t.checking = true
	}
	if clock.Elapsed(t.retried, now) >= quiet {
		t.wantUnconfirmed(now)
	}
	for channel := range t.changed {
		switch c := t.topics[channel]; {
		case c == nil:
			commands = append(commands, command{"UNSUBSCRIBE", channel, nil, now})
		case !c.confirmed:
			commands = append(commands, command{"SUBSCRIBE", channel, c, now})
		}
	}
	clear(t.changed)
	if t.checking {
		t.checking = false
		commands = append(commands, command{name: "PING", sent: now})
	}
	t.sent = append(t.sent, commands...)
	_, wait = t.pulse().check(now)
	return commands, wait, true
}

// condition returns the condition of the connection at now. It ends the doubts that may not
// end a connection yet, because their pause has not passed.
func (t *talk) condition(now time.Time) condition {
	for {
		c, _ := t.pulse().check(now)
		if c != mute {
			return c
		}
		d := t.doubts[0]
		if t.replaced.IsZero() || clock.Elapsed(t.replaced, now) >= d.pause {
			return mute
		}
		d.topic.missing = time.Time{}
	}
}

// pulse returns the pulse of the connection. It removes the oldest doubts that are over.
func (t *talk) pulse() pulse {
	for len(t.doubts) > 0 && !t.doubts[0].since.Equal(t.doubts[0].topic.missing) {
		t.doubts = t.doubts[1:]
	}
	p := pulse{heard: t.heard}
	if len(t.sent) > 0 {
		p.asked = t.sent[0].sent
	}
	if len(t.doubts) > 0 {
		p.missing = t.doubts[0].since
	}
	return p
}

// hear records what has arrived at now: a message, or the reply to a command. The reply is
// a refusal if refusal is not nil. hear ignores everything else.
func (t *talk) hear(reply any, refusal error, now time.Time) {
	t.heard = now
	if refusal != nil {
		t.sent = t.sent[min(1, len(t.sent)):]
		return
	}
	if reply == "PONG" { // the reply to a PING while there is no subscription
		t.answered("PING", "")
		return
	}
	values, _ := reply.([]any)
	if len(values) < 2 {
		return
	}
	kind, _ := values[0].([]byte)
	name, _ := values[1].([]byte)
	switch channel := string(name); string(kind) {
	case "message":
		if message, ok := values[len(values)-1].([]byte); ok && len(values) == 3 {
			t.message(channel, message)
		}
	case "subscribe":
		t.confirm(channel)
	case "unsubscribe":
		t.answered("UNSUBSCRIBE", channel)
	case "pong":
		t.answered("PING", "")
	}
}

// message passes a message to the subscribers of channel.
func (t *talk) message(channel string, message []byte) {
	c := t.topics[channel]
	if c == nil {
		return
	}
	c.missing = time.Time{}
	for _, s := range c.listeners {
		s.message = message
		s.signal()
	}
}

// confirm records the reply to a SUBSCRIBE. An UNSUBSCRIBE and another SUBSCRIBE for
// channel may be on their way. So a reply confirms a topic only if the SUBSCRIBE was sent
// for this very topic.
func (t *talk) confirm(channel string) {
	c := t.topics[channel]
	if command, ok := t.answered("SUBSCRIBE", channel); !ok || c == nil || c != command.topic {
		return
	}
	c.confirmed = true
	for _, s := range c.listeners {
		s.up, s.missed = true, true
		s.signal()
	}
}

// answered records the reply to the first command with this name and channel that has none,
// and returns the command. Redis replies in order, so the commands before this one get no
// reply any more.
func (t *talk) answered(name, channel string) (command, bool) {
	i := slices.IndexFunc(t.sent, func(c command) bool { return c.name == name && c.channel == channel })
	if i < 0 {
		return command{}, false
	}
	c := t.sent[i]
	t.sent = t.sent[i+1:]
	return c, true
}
