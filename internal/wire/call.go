package wire

import (
	"context"
	"fmt"

	"example.com/setlock/internal/protocol"
)

// A stage is how far the goroutine of a call has come.
type stage int

const (
	connecting stage = iota // the call has no connection yet: nothing was sent
	sending
	receiving
	closing // the command and its replies are over
	ended   // the call has a result
)

// A caller says whether the caller still waits for a call.
type caller int

const (
	waiting   caller = iota
	leaving          // its context has ended: it waits for joinFor at most
	abandoned        // it returned before the call had a result
)

// run gets a connection, talks to Redis, and gives the connection back. It then undoes the
// command if it has to.
func (c *Call) run(ctx context.Context) {
	defer c.finish()
	r := &c.result
	r.Err = errNoResult // replaced below, unless Dial or TestOnBorrow calls runtime.Goexit
	conn, err := connect(ctx, c.Pool)
	if err != nil {
		r.Err = err
		return
	}
	c.conn = conn
	r.Reply, r.Fate, r.Err = c.talk()
	r.Sent = c.sent
	if c.endTalk() {
		r.Err = errLeft
		if reply, err := c.receive(); err == nil && isRelease(reply) {
			r.Fate = Undone
		}
		c.endUndo()
	}
	c.helpers.Wait()
	if c.notServing {
		drop(conn)
	}
	conn.Close()
	if r.Err != nil && (r.Fate == Answered || r.Fate == Unknown) {
		r.Fate = c.undoElsewhere(ctx, r.Fate)
	}
	if c.setEnded() != abandoned {
		return
	}
	fate := r.Fate
	if r.Err == nil {
		fate = c.undoElsewhere(ctx, fate) // the caller returned before this reply, and does not know it
	}
	if c.Settled != nil {
		c.Settled(fate)
	}
}

// finish ends run, even after a panic or a Goexit in Dial or TestOnBorrow. Otherwise the
// caller would wait for ever.
func (c *Call) finish() {
	if c.result.Err == errNoResult && c.conn != nil {
		c.result.Sent, c.result.Fate = c.sent, Unknown
	}
	c.setEnded()
	c.endUndo()
	if c.done != nil {
		close(c.done)
	}
}

// talk sends the command, waits for the replicas, and sends the command that follows the
// confirmation.
func (c *Call) talk() (any, Fate, error) {
	reply, err := c.roundTrip(&c.Command)
	if AnsweredWith(err, "NOSCRIPT") {
		withSource := c.Command.WithSource()
		reply, err = c.roundTrip(&withSource)
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
		c.roundTrip(&then)
	}
	return reply, fate, nil
}

// confirm blocks until the replicas have what the command wrote, or Wait has passed. Fewer
// replicas are an error.
func (c *Call) confirm() error {
	wait := protocol.Wait(c.Replicas, c.Wait)
	reply, err := c.roundTrip(&wait)
	return confirmed(reply, err, c.Replicas)
}

// confirmed returns an error unless at least n replicas have confirmed, as the result of a
// WAIT says.
func confirmed(reply any, err error, n int) error {
	var got int64
	if err == nil {
		got, err = protocol.ParseWait(reply)
	}
	if err != nil {
		return fmt.Errorf("waiting for replicas: %w", err)
	}
	if got < int64(n) {
		return fmt.Errorf("confirmed by %d of %d replicas", got, n)
	}
	return nil
}

// roundTrip sends one command and receives its reply.
func (c *Call) roundTrip(command *protocol.Command) (any, error) {
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
func (c *Call) receive() (any, error) {
	reply, err := c.conn.Receive()
	c.notServing = c.notServing || AnsweredWith(err, notServing...)
	return reply, err
}

// enter begins stage s. It returns false when the caller has left.
func (c *Call) enter(s stage) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.caller != waiting {
		return false
	}
	if c.stage == connecting {
		c.sent = c.clock.Now()
	}
	c.stage = s
	return true
}
