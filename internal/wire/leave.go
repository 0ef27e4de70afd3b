package wire

import (
	"context"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
)

// What happens when the caller leaves, and how its command is undone.

// leave takes the connection away from run, and returns what is known within joinFor. The
// caller leaves because of cause.
func (c *call) leave(cause error) Result {
	c.mu.Lock()
	stage := c.stage
	c.caller = leaves
	switch {
	case stage == receiving && c.Undo.Name != "":
		c.piped = make(chan struct{})
		c.aids.Add(1)
		go c.undoBehind(c.Undo, c.piped) // joined by run
	case stage == sending || stage == receiving:
		c.aids.Add(1)
		go c.breakOff() // joined by run
	}
	c.mu.Unlock()
	if stage == connecting {
		return Result{Err: cause}
	}
	timer := c.clock.NewTimer(joinFor)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C():
		if sent, ok := c.abandon(); ok {
			return Result{Sent: sent, Fate: Unknown, Err: cause}
		}
		<-c.done
	}
	r := c.result
	if r.Err != nil && !IsAnswer(r.Err) {
		r.Err = cause
	}
	return r
}

// abandon has the caller return without a result. It returns false if there is one.
func (c *call) abandon() (sent time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage == ended {
		return c.sent, false
	}
	c.caller = abandoned
	return c.sent, true
}

// breakOff ends what run is blocked in.
func (c *call) breakOff() {
	defer c.aids.Done()
	interrupt(c.conn)
}

// undoBehind sends the undo on the connection of the command: nothing can come
// between the two there, even on a server that is paused and runs both later. When
// no reply comes within undoFor, the connection is interrupted.
func (c *call) undoBehind(undo protocol.Command, piped <-chan struct{}) {
	defer c.aids.Done()
	c.aids.Add(1)
	timer := c.clock.AfterFunc(undoFor, c.breakOff)
	// An error here has broken the connection, and run meets it.
	undo = undo.WithSource()
	if c.conn.Send(undo.Name, undo.Args...) == nil {
		c.conn.Flush()
	}
	<-piped
	if timer.Stop() {
		c.aids.Done()
	}
}

// undoHere undoes the command on its connection. It reports whether it is known to be undone.
func (c *call) undoHere() bool {
	undo := c.undo()
	if undo.Name == "" {
		return false
	}
	reply, err := c.round(undo.WithSource())
	return err == nil && isRelease(reply)
}

// undoElsewhere undoes, on another connection, a command of which fate is known. Unless there
// was something to undo, it returns fate: the command may still arrive.
func (c *call) undoElsewhere(ctx context.Context, fate Fate) Fate {
	undo := c.undo()
	if undo.Name == "" {
		return fate
	}
	ctx, cancel := clock.WithTimeout(context.WithoutCancel(ctx), undoFor)
	defer cancel()
	r := Do(ctx, c.pool, Request{Command: undo})
	if released, err := protocol.ParseRelease(r.Reply); r.Err == nil && err == nil && released {
		return Undone
	}
	return fate
}

func (c *call) undo() protocol.Command {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Undo
}

// isRelease reports whether reply is one to a release: what the command acquired is not held.
func isRelease(reply any) bool {
	_, err := protocol.ParseRelease(reply)
	return err == nil
}

// close ends the talk on the connection. It reports whether the undo was sent behind the command.
func (c *call) close() (piped bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage = closing
	return c.piped != nil
}

// endPipe lets undoBehind end.
func (c *call) endPipe() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.piped != nil {
		close(c.piped)
		c.piped = nil
	}
}

// end notes that there is a result. It returns whether anybody waits for it.
func (c *call) end() caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage = ended
	return c.caller
}
