package wire

import (
	"context"
	"errors"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/trace"
)

const (
	// joinFor is how long a call whose context has ended waits for its
	// helper to give back the connection that was interrupted.
	joinFor = 5 * time.Millisecond
	// undoFor bounds each of the two tries to undo a command.
	undoFor = time.Second
)

// A Request is a command to call, and what belongs to it.
type Request struct {
	Command protocol.Command

	// Replicas must confirm what Command wrote, within Wait. Fewer are an error.
	Replicas int
	Wait     time.Duration

	// Undo releases what Command acquires. It is sent when the call fails and Command may
	// have run, or may still. Zero: nothing is undone.
	Undo protocol.Command

	// Confirmed returns the command that follows when Replicas have confirmed the
	// reply, and Undo from then on. How that command ends is of no importance. nil: none follows.
	Confirmed func(reply any) (then, undo protocol.Command)
}

// A Fate is what has become of the command of a call.
type Fate int

// From what certainly did not run to what nobody knows of.
const (
	NotSent  Fate = iota // it never went out
	Refused              // Redis has answered that it did not run it
	Answered             // it ran, and Redis has answered
	Undone               // it ran, and was undone on the same server
	Unknown              // it went out without an answer: it has run, may still run, or never will
)

// MayHaveRun reports whether the command has run, or may still.
func (f Fate) MayHaveRun() bool { return f >= Answered }

// A Result is what became of a call.
type Result struct {
	Reply any
	Sent  time.Time // before the command went out; zero: it never did
	Fate  Fate
	Err   error // why there is no reply, or one that does not count
}

// Do makes one call on a connection of pool. It blocks until Redis has answered
// or ctx has ended; then, if the pool is still dialling, it returns at once, and
// otherwise after at most joinFor. A helper that is stuck in the pool's Dial ends when
// that does and sends nothing. One that undoes ends within undoFor on the same
// connection, or twice that with another one.
func Do(ctx context.Context, pool *redis.Pool, r Request) Result {
	if ctx.Err() != nil {
		return Result{Err: context.Cause(ctx)}
	}
	c := &call{Request: r, pool: pool, clock: clock.FromContext(ctx)}
	if ctx.Done() == nil {
		c.run(ctx)
		trace.Called(ctx, c.clock.Now(), c.result.Err)
		return c.result
	}
	c.done = make(chan struct{})
	go c.run(ctx) // joined below, except as the comment above says
	var result Result
	select {
	case <-c.done:
		result = c.result
		if result.Err != nil && !IsAnswer(result.Err) && hasEnded(ctx, c.clock) {
			result.Err = context.Cause(ctx) // the pool was quicker to see it
		}
	case <-ctx.Done():
		result = c.leave(context.Cause(ctx))
	}
	if result.Err == nil || ctx.Err() == nil || errors.Is(result.Err, context.DeadlineExceeded) {
		trace.Called(ctx, c.clock.Now(), result.Err)
	}
	return result
}

// hasEnded reports whether ctx has ended, or is about to: a network looks at its
// deadline, too.
func hasEnded(ctx context.Context, c clock.Clock) bool {
	if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && !c.Now().Before(deadline) {
		timer := c.NewTimer(joinFor)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C():
		}
	}
	return ctx.Err() != nil
}
