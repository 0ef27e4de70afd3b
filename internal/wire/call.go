package wire

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
)

// A stage is how far the goroutine of a call has got.
type stage int

const (
	connecting stage = iota // waiting for a connection: nothing was sent
	sending
	receiving
	closing // the connection is used no more
	ended   // there is a result
)

// A caller is whether anybody waits for a call.
type caller int

const (
	waits     caller = iota
	leaves           // its context has ended: it waits for joinFor at most
	abandoned        // it has returned without a result
)

// A call is one Request under way. The connection belongs to run, which may be
// blocked in the pool, in somebody's Dial or in the network. The caller leaves when
// its context ends, and takes the connection away from run.
type call struct {
	Request
	pool  *redis.Pool
	clock clock.Clock

	// Of run:
	conn   redis.Conn // before the stage connecting ends
	astray bool       // conn leads to a server that does not serve
	result Result     // before done is closed

	done chan struct{}  // closed when run has ended; nil: the caller runs it itself
	aids sync.WaitGroup // what leave has started; run joins it

	mu     sync.Mutex // guards what follows, and Undo
	stage  stage
	caller caller
	sent   time.Time
	piped  chan struct{} // non-nil: the undo is sent behind the command; closed when its reply is there
}

// run gets a connection, talks, and gives the connection back.
func (c *call) run(ctx context.Context) {
	defer c.finish()
	r := &c.result
	r.Err = errNoResult // until there is one, because code of the Pool's owner may exit here
	conn, err := connect(ctx, c.pool)
	if err != nil {
		r.Err = err
		return
	}
	c.conn = conn
	r.Reply, r.Fate, r.Err = c.talk()
	r.Sent = c.sent
	if c.close() {
		r.Err = errLeft
		if reply, err := c.receive(); err == nil && isRelease(reply) {
			r.Fate = Undone
		}
		c.endPipe()
	}
	c.aids.Wait()
	if c.astray {
		drop(conn)
	}
	conn.Close()
	if r.Err != nil && (r.Fate == Answered || r.Fate == Unknown) {
		r.Fate = c.undoElsewhere(ctx, r.Fate)
	}
	if c.end() == abandoned && r.Err == nil {
		c.undoElsewhere(ctx, r.Fate) // the reply came after all, and nobody knows of it
	}
}

// finish ends run, also after a panic or a Goexit in code of the Pool's owner, so that
// nobody waits for ever.
func (c *call) finish() {
	if c.result.Err == errNoResult && c.conn != nil {
		c.result.Sent, c.result.Fate = c.sent, Unknown
	}
	c.end()
	c.endPipe()
	if c.done != nil {
		close(c.done)
	}
}

// talk sends the command, waits for the replicas, and sends what follows then.
func (c *call) talk() (any, Fate, error) {
	reply, err := c.round(c.Command)
	if AnsweredWith(err, "NOSCRIPT") {
		reply, err = c.round(c.Command.WithSource())
	}
	fate := Unknown
	switch {
	case err == nil:
		fate = Answered
	case err == errLeft:
		fate = NotSent
	case IsAnswer(err):
		fate = Refused
	}
	if err != nil || c.Replicas == 0 || !protocol.Wrote(reply) {
		return reply, fate, err
	}
	if err := c.confirm(); err != nil {
		if c.undoHere() {
			fate = Undone
		}
		return reply, fate, err
	}
	if c.Confirmed != nil {
		then, undo := c.Confirmed(reply)
		c.mu.Lock()
		c.Undo = undo
		c.mu.Unlock()
		c.round(then)
	}
	return reply, fate, nil
}

// confirm waits for the replicas to have what the command wrote.
func (c *call) confirm() error {
	reply, err := c.round(protocol.Wait(c.Replicas, c.Wait))
	if err != nil {
		return fmt.Errorf("waiting for replicas: %w", err)
	}
	n, err := protocol.ParseWait(reply)
	if err != nil {
		return fmt.Errorf("waiting for replicas: %w", err)
	}
	if n < int64(c.Replicas) {
		return fmt.Errorf("confirmed by %d of %d replicas", n, c.Replicas)
	}
	return nil
}

// round sends one command and receives its reply.
func (c *call) round(command protocol.Command) (any, error) {
	if !c.enter(sending) {
		return nil, errLeft
	}
	if err := c.conn.Send(command.Name, command.Args...); err != nil {
		return nil, err
	}
	if err := c.conn.Flush(); err != nil {
		return nil, err
	}
	c.enter(receiving)
	return c.receive()
}

// receive receives one reply.
func (c *call) receive() (any, error) {
	reply, err := c.conn.Receive()
	c.astray = c.astray || AnsweredWith(err, astray...)
	return reply, err
}

// enter begins the next stage. It returns false when the caller has left.
func (c *call) enter(s stage) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caller != waits {
		return false
	}
	if c.stage == connecting {
		c.sent = c.clock.Now()
	}
	c.stage = s
	return true
}
