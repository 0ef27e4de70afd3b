package setlock

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
)

// A hub is what all Locks of one Pool share outside that Pool's limits: one
// connection for announcements, while somebody subscribes, and spare ones
// for what must not wait for the Pool.
type hub struct {
	// spare dials as the Pool does and keeps nothing.
	spare *redis.Pool

	refs int // guarded by hubs.mu

	mu   sync.Mutex // guards line and what is said to be in line and subscription
	line *line      // nil: nobody subscribes
}

// maxSpare bounds the spare connections, so that thousands of Locks that lose
// their Redis together do not storm it.
const maxSpare = 16

var hubs = struct {
	mu sync.Mutex
	of map[*redis.Pool]*hub
}{of: make(map[*redis.Pool]*hub)}

// openHub returns the hub of pool until the caller closes it.
func openHub(pool *redis.Pool) *hub {
	hubs.mu.Lock()
	defer hubs.mu.Unlock()
	h := hubs.of[pool]
	if h == nil {
		h = &hub{spare: &redis.Pool{
			Dial:        pool.Dial,
			DialContext: pool.DialContext,
			MaxActive:   maxSpare,
			Wait:        true,
		}}
		hubs.of[pool] = h
	}
	h.refs++
	return h
}

func closeHub(pool *redis.Pool) {
	hubs.mu.Lock()
	defer hubs.mu.Unlock()
	h := hubs.of[pool]
	if h.refs--; h.refs == 0 {
		delete(hubs.of, pool)
	}
}

// A subscription receives the announcements of one channel, the newest only.
type subscription struct {
	hub     *hub
	line    *line
	channel string

	// signal holds one element when take has something new.
	signal chan struct{}

	// Guarded by hub.mu.
	news []byte // the newest announcement, nil for none
	look bool   // something may have been missed
	up   bool   // announcements arrive
}

// subscribe starts to listen to channel. Until take says up, nothing is heard.
func (h *hub) subscribe(ctx context.Context, pool *redis.Pool, channel string) *subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.line == nil {
		h.line = newLine(ctx, h, pool)
	}
	n := h.line
	s := &subscription{hub: h, line: n, channel: channel, signal: make(chan struct{}, 1), look: true}
	t := n.topics[channel]
	if t == nil {
		t = new(topic)
		n.topics[channel] = t
		n.change(channel)
	}
	t.subscribers = append(t.subscribers, s)
	s.up = t.confirmed
	if s.up {
		notify(s.signal)
	}
	return s
}

// take returns the newest announcement since the last call, whether something
// may have been missed since then, and whether announcements arrive.
func (s *subscription) take() (news []byte, look, up bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	news, look, up = s.news, s.look, s.up
	s.news, s.look = nil, false
	return news, look, up
}

// check has the connection asked for an answer, without which it is dialled anew.
func (s *subscription) check() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.line.check()
}

// doubt notes that a look has found what no announcement has told. The connection is
// checked. If it answers and tells nothing of the channel for linePatience either, it is
// dialled anew, unless that was done less than pause ago.
func (s *subscription) doubt(pause time.Duration) {
	h, n := s.hub, s.line
	h.mu.Lock()
	defer h.mu.Unlock()
	if !s.up || s.look || s.news != nil {
		return // something has come since, or could not
	}
	n.doubt(n.topics[s.channel], pause)
}

// close ends the subscription, and with the last one the connection.
func (s *subscription) close() {
	h, n := s.hub, s.line
	h.mu.Lock()
	t := n.topics[s.channel]
	t.subscribers = slices.DeleteFunc(t.subscribers, func(other *subscription) bool { return other == s })
	if len(t.subscribers) == 0 {
		t.untold = time.Time{}
		delete(n.topics, s.channel)
		n.change(s.channel)
	}
	last := len(n.topics) == 0
	if last {
		h.line = nil
	}
	h.mu.Unlock()
	if last {
		n.cancel()
		<-n.done
	}
}

// notify puts an element into a channel of one slot.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// newBackOff paces what is tried again until it works.
func newBackOff(longest time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(min(50*time.Millisecond, longest)),
		backoff.WithMaxInterval(longest),
		backoff.WithMaxElapsedTime(0),
	)
}

// sleep waits for d or until ctx has ended.
func sleep(ctx context.Context, d time.Duration) {
	timer := clock.FromContext(ctx).NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}
