package wire

import (
	"context"
	"time"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
)

// This file has what happens when the caller leaves, and how a command is undone.

// leave ends the wait of the caller because of cause. It interrupts run, or sends the undo
// behind the command. It returns what is known of the call within joinFor.
func (c *Call) leave(cause error) Result {
	c.mu.Lock()
	stage := c.stage
	c.caller = leaving
	switch {
	case stage == receiving && c.Undo.Name != "":
		c.undoReplied = make(chan struct{})
		c.helpers.Add(1)
		go c.undoBehind(c.Undo, c.undoReplied) // joined by run
	case stage == sending || stage == receiving:
		c.helpers.Add(1)
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

// abandon records that the caller returns without a result. It returns false when the call
// has a result.
func (c *Call) abandon() (sent time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage == ended {
		return c.sent, false
	}
	c.caller = abandoned
	return c.sent, true
}

// breakOff interrupts the connection, so that run does not stay blocked in it.
func (c *Call) breakOff() {
	defer c.helpers.Done()
	interrupt(c.conn)
}

// undoBehind sends the undo of a command that has no reply yet. A server that is paused may
// still run the command later. If the undo came on another connection, it could run before
// the command, and what the command acquires would remain. So the undo goes behind the
// command on the same connection, where nothing can come between the two. When no reply
// comes within undoFor, undoBehind interrupts the connection.
func (c *Call) undoBehind(undo protocol.Command, undoReplied <-chan struct{}) {
	defer c.helpers.Done()
	c.helpers.Add(1)
	timer := c.clock.AfterFunc(undoFor, c.breakOff)
	// An error here means that the connection is broken. run gets this error too.
	undo = undo.WithSource()
	if c.conn.Send(undo.Name, undo.Args...) == nil {
		c.conn.Flush()
	}
	<-undoReplied
	if timer.Stop() {
		c.helpers.Done()
	}
}

// undoHere undoes a command that has a reply on the connection of the command, which leads
// to the server that ran it. It reports whether the command is known to be undone.
func (c *Call) undoHere() bool {
	undo := c.undo()
	if undo.Name == "" {
		return false
	}
	undo = undo.WithSource()
	reply, err := c.roundTrip(&undo)
	return err == nil && isRelease(reply)
}

// undoElsewhere undoes the command on another connection, and returns its new fate. The new
// fate is Undone when the undo released something. Otherwise it is fate, because the
// command may still reach Redis.
func (c *Call) undoElsewhere(ctx context.Context, fate Fate) Fate {
	undo := c.undo()
	if undo.Name == "" {
		return fate
	}
	ctx, cancel := clock.WithTimeout(context.WithoutCancel(ctx), undoFor)
	defer cancel()
	r := (&Call{Pool: c.Pool, Command: undo}).Do(ctx)
	if released, err := protocol.ParseRelease(r.Reply); r.Err == nil && err == nil && released {
		return Undone
	}
	return fate
}

// undo returns the command that undoes the call's command. It is zero when there is none.
func (c *Call) undo() protocol.Command {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Undo
}

// isRelease reports whether reply is a reply to a release. Then what the command acquired
// is not held any more.
func isRelease(reply any) bool {
	_, err := protocol.ParseRelease(reply)
	return err == nil
}

// endTalk enters the stage closing. It reports whether the undo was sent behind the
// command.
func (c *Call) endTalk() (undoSent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage = closing
	return c.undoReplied != nil
}

// endUndo ends undoBehind, because the reply to the undo has come or cannot come.
func (c *Call) endUndo() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.undoReplied != nil {
		close(c.undoReplied)
		c.undoReplied = nil
	}
}

// setEnded enters the stage ended. It returns whether the caller still waits for the
// result.
func (c *Call) setEnded() caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage = ended
	return c.caller
}
