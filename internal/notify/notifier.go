package notify

import (
	"context"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A Notifier serves subscriptions. It has a connection while there is a subscription.
type Notifier struct {
	dial func(ctx context.Context) (redis.Conn, error)

	mu   sync.Mutex  // guards conn, and the fields of connection and Subscription that are marked
	conn *connection // nil when there is no subscription
}

// New returns a Notifier that dials with dial. dial may ignore its ctx.
func New(dial func(ctx context.Context) (redis.Conn, error)) *Notifier {
	return &Notifier{dial: dial}
}

// A Subscription receives the messages of one channel. A newer message replaces an older
// one that was not taken.
type Subscription struct {
	notifier *Notifier
	conn     *connection
	channel  string
	heard    *listener // guarded by Notifier.mu
}

// Subscribe starts a subscription to channel, until Close. Messages arrive once Take has
// returned true for up. signal is called whenever Take has something new to return, perhaps
// before Subscribe has returned. It must neither block nor use the Notifier. The connection
// uses the clock of ctx and nothing else of ctx.
func (n *Notifier) Subscribe(ctx context.Context, channel string, signal func()) *Subscription {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn == nil {
		n.conn = newConnection(ctx, &n.mu, n.dial)
	}
	l := &listener{signal: signal, missed: true}
	n.conn.talk.listen(channel, l)
	wake(n.conn.wake)
	return &Subscription{notifier: n, conn: n.conn, channel: channel, heard: l}
}

// Take returns the newest message since the last Take, or nil when there is none. missed
// reports whether messages may have been missed since the last Take. up reports whether
// messages arrive. Take never blocks.
func (s *Subscription) Take() (message []byte, missed, up bool) {
	s.notifier.mu.Lock()
	defer s.notifier.mu.Unlock()
	l := s.heard
	message, missed, up = l.message, l.missed, l.up
	l.message, l.missed = nil, false
	return message, missed, up
}

// Check sends a PING on the connection. Without an answer, the connection is dialled again.
func (s *Subscription) Check() {
	s.notifier.mu.Lock()
	defer s.notifier.mu.Unlock()
	s.conn.talk.checking = true
	wake(s.conn.wake)
}

// Doubt records that a message should have come. The connection is checked by a PING. If
// the connection answers and no message comes within patience, the connection is dialled
// again. It is not dialled again if a doubt has ended a connection less than pause ago.
func (s *Subscription) Doubt(pause time.Duration) {
	s.notifier.mu.Lock()
	defer s.notifier.mu.Unlock()
	if l := s.heard; !l.up || l.missed || l.message != nil {
		return // a message has come since, or could not come
	}
	s.conn.talk.doubt(s.channel, pause, s.conn.clock.Now())
	wake(s.conn.wake)
}

// Close ends the subscription. The Close of the last subscription of a Notifier blocks
// until the connection has ended.
func (s *Subscription) Close() {
	if conn := s.unsubscribe(); conn != nil {
		conn.cancel()
		<-conn.done
	}
}

// unsubscribe removes s from its topic. If s was the last subscription, unsubscribe returns
// the connection, which the caller must end. Otherwise it returns nil.
func (s *Subscription) unsubscribe() *connection {
	n := s.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	s.conn.talk.leave(s.channel, s.heard)
	wake(s.conn.wake)
	if len(s.conn.talk.topics) > 0 {
		return nil
	}
	n.conn = nil
	return s.conn
}
