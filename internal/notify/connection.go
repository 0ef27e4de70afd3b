package notify

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
)

const (
	// firstRedial and lastRedial are the shortest and the longest pause before the
	// connection is dialled again.
	firstRedial = 50 * time.Millisecond
	lastRedial  = 5 * time.Second
	// dialTimeout bounds a dial that heeds its ctx.
	dialTimeout = 10 * time.Second
)

// A connection listens to the channels of a Notifier. When the connection to Redis breaks,
// it dials again. It ends with the last subscription.
type connection struct {
	redial func(ctx context.Context) (redis.Conn, error)
	clock  clock.Clock
	cancel context.CancelFunc // ends run
	done   chan struct{}      // closed when run has ended
	wake   chan struct{}      // one slot; full when talk may have something to send

	mu   *sync.Mutex // the Notifier's; guards talk
	talk talk
}

// newConnection starts a connection. The connection uses the clock of ctx and nothing else of
// ctx.
func newConnection(ctx context.Context, mu *sync.Mutex, dial func(ctx context.Context) (redis.Conn, error)) *connection {
	ctx, cancel := context.WithCancel(clock.NewContext(context.Background(), clock.FromContext(ctx)))
	c := &connection{
		redial: dial,
		clock:  clock.FromContext(ctx),
		cancel: cancel,
		done:   make(chan struct{}),
		wake:   make(chan struct{}, 1),
		mu:     mu,
		talk:   talk{topics: make(map[string]*topic), changed: make(map[string]bool)},
	}
	go c.run(ctx) // joined by the Close of the last subscription
	return c
}

// run dials and listens, again and again, until ctx ends.
func (c *connection) run(ctx context.Context) {
	defer close(c.done)
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstRedial),
		backoff.WithMaxInterval(lastRedial),
		backoff.WithMaxElapsedTime(0),
	)
	for ctx.Err() == nil {
		conn := c.dial(ctx)
		if conn == nil {
			c.sleep(ctx, pause.NextBackOff())
			continue
		}
		if _, ok := conn.(redis.ConnWithTimeout); !ok {
			conn.Close() // it cannot listen for longer than its read timeout
			c.sleep(ctx, quiet)
			continue
		}
		start := c.clock.Now()
		c.serve(ctx, conn)
		if clock.Elapsed(start, c.clock.Now()) > lastRedial {
			pause.Reset()
		}
		c.sleep(ctx, pause.NextBackOff())
	}
}

// sleep blocks for d, or until ctx ends.
func (c *connection) sleep(ctx context.Context, d time.Duration) {
	timer := c.clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-ctx.Done():
	}
}

// dial returns a connection to Redis, or nil. When ctx ends, dial returns nil at once. A
// goroutine that is blocked in Notifier.dial then remains until that function returns.
func (c *connection) dial(ctx context.Context) redis.Conn {
	dialled := make(chan redis.Conn)
	go func() { // ends when Notifier.dial returns
		bounded, cancel := clock.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := c.redial(bounded)
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

// serve subscribes and listens on conn until conn breaks, the talk gives conn up, or ctx
// ends.
func (c *connection) serve(ctx context.Context, conn redis.Conn) {
	defer c.locked((*talk).end)
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		c.listen(conn)
	}()
	// Closing a connection of redigo ends a Receive and a Flush that are blocked.
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
		<-broken
	}()

	timer := c.clock.NewTimer(quiet)
	defer timer.Stop()
	c.locked(func(t *talk) { t.begin(c.clock.Now()) })
	for {
		var commands []command
		var wait time.Duration
		var ok bool
		c.locked(func(t *talk) { commands, wait, ok = t.next(c.clock.Now()) })
		if !ok || c.send(conn, commands) != nil {
			return
		}
		timer.Reset(wait)
		select {
		case <-c.wake:
		case <-timer.C():
		case <-broken:
			return
		case <-ctx.Done():
			return
		}
	}
}

// send sends commands without waiting for their replies.
func (c *connection) send(conn redis.Conn, commands []command) error {
	for _, command := range commands {
		var args []any
		if command.channel != "" {
			args = append(args, command.channel)
		}
		if err := conn.Send(command.name, args...); err != nil {
			return err
		}
	}
	return conn.Flush()
}

// listen passes what arrives on conn to the talk, until conn breaks.
func (c *connection) listen(conn redis.Conn) {
	for {
		reply, err := redis.ReceiveWithTimeout(conn, 0)
		var refusal redis.Error
		if err != nil && !errors.As(err, &refusal) {
			return
		}
		c.locked(func(t *talk) { t.hear(reply, err, c.clock.Now()) })
	}
}

// locked calls f with the talk, under Notifier.mu.
func (c *connection) locked(f func(*talk)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.talk)
}
