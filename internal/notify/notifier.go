package notify

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A Notifier serves subscriptions. It has a connection from the first of them to the last.
type Notifier struct {
	dial func(ctx context.Context) (redis.Conn, error)

	mu   sync.Mutex  // guards what follows, and what connection and Subscription say
	conn *connection // nil: nobody subscribes
}

// New returns a Notifier that dials with dial, which may ignore its ctx.
func New(dial func(ctx context.Context) (redis.Conn, error)) *Notifier {
	return &Notifier{dial: dial}
}

// A Subscription receives the messages of one channel, the newest only.
type Subscription struct {
	// Signal holds one element when Take has something new.
	Signal <-chan struct{}

	notifier *Notifier
	conn     *connection
	channel  string
	signal   chan struct{} // Signal

	// Guarded by Notifier.mu.
	message []byte // the newest, nil for none
	missed  bool   // messages may have been missed
	up      bool   // messages arrive
}

// Subscribe starts to listen to channel, until Close. Messages arrive when Take reports it. Of ctx, the
// connection keeps the values only.
func (n *Notifier) Subscribe(ctx context.Context, channel string) *Subscription {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn == nil {
		n.conn = newConnection(ctx, n)
	}
	signal := make(chan struct{}, 1)
	s := &Subscription{Signal: signal, notifier: n, conn: n.conn, channel: channel, signal: signal, missed: true}
	t := n.conn.talk.topic(channel)
	wake(n.conn.wake)
	t.subscribers = append(t.subscribers, s)
	s.up = t.confirmed
	if s.up {
		wake(s.signal)
	}
	return s
}

// Take returns the newest message since the last call, nil for none; whether messages
// may have been missed since then; and whether messages arrive. It never blocks.
func (s *Subscription) Take() (message []byte, missed, up bool) {
	s.notifier.mu.Lock()
	defer s.notifier.mu.Unlock()
	message, missed, up = s.message, s.missed, s.up
	s.message, s.missed = nil, false
	return message, missed, up
}

// Check asks the connection for an answer. Without one it is dialled again.
func (s *Subscription) Check() {
	s.notifier.mu.Lock()
	defer s.notifier.mu.Unlock()
	s.conn.talk.checking = true
	wake(s.conn.wake)
}

// Doubt notes that a message should have come. The connection is checked. When it
// answers, and no message comes within patience either, it is dialled again, unless
// that was done for a doubt less than pause ago.
func (s *Subscription) Doubt(pause time.Duration) {
	s.notifier.mu.Lock()
	defer s.notifier.mu.Unlock()
	if !s.up || s.missed || s.message != nil {
		return // something has come since, or could not come
	}
	s.conn.talk.doubt(s.channel, pause, s.conn.clock.Now())
	wake(s.conn.wake)
}

// Close ends the subscription. The last Close of a Notifier blocks until its connection is
// closed.
func (s *Subscription) Close() {
	if conn := s.unsubscribe(); conn != nil {
		conn.cancel()
		<-conn.done
	}
}

// unsubscribe removes the subscription. It returns the connection if this was the last one.
func (s *Subscription) unsubscribe() *connection {
	n := s.notifier
	n.mu.Lock()
	defer n.mu.Unlock()
	t := s.conn.talk.topics[s.channel]
	t.subscribers = slices.DeleteFunc(t.subscribers, func(other *Subscription) bool { return other == s })
	if len(t.subscribers) == 0 {
		s.conn.talk.drop(s.channel)
		wake(s.conn.wake)
	}
	if len(s.conn.talk.topics) > 0 {
		return nil
	}
	n.conn = nil
	return s.conn
}

// wake puts an element into a channel of one slot.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
