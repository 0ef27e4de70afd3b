package wire

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
	"example.com/setlock/internal/trace"
)

const (
	// joinFor is how long a caller whose context has ended waits for its helper to give
	// back the interrupted connection.
	joinFor = 5 * time.Millisecond
	// undoFor bounds each of the two attempts to undo a command.
	undoFor = time.Second
)

// A Call is a command for Redis, and what to do about it. It is used for one Do, and must not
// be changed after that.
//
// While a Call is under way, run owns the connection, and may be blocked in the Pool, in Dial
// or in the network. When the caller's context ends, the caller leaves and interrupts the
// connection, so that run ends too.
type Call struct {
	Pool    *redis.Pool
	Command protocol.Command

	// Replicas is the number of replicas that must confirm the write of Command within
	// Wait. Fewer are an error.
	Replicas int
	Wait     time.Duration

	// Undo is the command that releases what Command acquires. It is sent when the call
	// fails and Command may have run or may still run. Zero: nothing is undone.
	Undo protocol.Command

	// Confirmed returns the command to send when the replicas have confirmed the write, and
	// the Undo that is valid from then on. reply is the reply to Command. An error of the
	// command that follows is ignored. nil: no command follows.
	Confirmed func(reply any) (then, undo protocol.Command)

	// Settled is called with the final fate of Command when Do has returned Unknown because
	// its caller left before the call had a result. nil: nobody wants to know.
	Settled func(Fate)

	clock clock.Clock

	// Used by run only, except as noted:
	conn       redis.Conn // set before the stage sending; leave uses it from then on
	notServing bool       // a server that does not serve has answered on conn
	result     Result     // read by the caller after done is closed

	done    chan struct{}  // closed when run has ended; nil when the caller executes run itself
	helpers sync.WaitGroup // goroutines that leave started; joined by run

	mu          sync.Mutex // guards the fields below, and Undo
	stage       stage
	caller      caller
	sent        time.Time     // when the command was about to be sent
	undoReplied chan struct{} // non-nil while undoBehind waits; closed when no reply to the undo can come any more
}

// A Fate is what became of the command of a call.
type Fate int

// The fates, in order: from a command that certainly did not run to one that may or may not
// run.
const (
	NotSent  Fate = iota // the command was never sent
	Refused              // Redis has answered that it did not run the command
	Answered             // the command ran, and Redis has answered
	Undone               // the command ran, and was undone on the same server
	Unknown              // the command was sent, and no answer came: it ran, may still run, or never will
)

// MayHaveRun reports whether the command has run or may still run.
func (f Fate) MayHaveRun() bool { return f >= Answered }

// A Result is what became of a call.
type Result struct {
	Reply any
	Sent  time.Time // when the command was about to be sent; zero: it was not sent
	Fate  Fate
	Err   error // why there is no reply, or why Reply does not count
}

// Do makes the call on a connection of the Pool. It blocks until Redis has answered or ctx has
// ended. When ctx ends while the Pool is dialling, Do returns at once. When ctx ends later, Do
// returns after at most joinFor.
//
// A helper goroutine may outlive Do. A helper that is stuck in the Pool's Dial ends when
// Dial returns, and sends nothing. A helper that undoes the command ends within undoFor on
// the same connection, or within twice undoFor when it has to use another connection.
func (c *Call) Do(ctx context.Context) Result {
	if ctx.Err() != nil {
		return Result{Err: context.Cause(ctx)}
	}
	c.clock = clock.FromContext(ctx)
	if ctx.Done() == nil {
		c.run(ctx)
		trace.Of(ctx).Called(c.clock.Now(), c.result.Err)
		return c.result
	}
	c.done = make(chan struct{})
	go c.run(ctx) // joined below, except for the helpers that may outlive Do
	var result Result
	select {
	case <-c.done:
		result = c.result
		if result.Err != nil && !IsAnswer(result.Err) && hasEnded(ctx, c.clock) {
			result.Err = context.Cause(ctx) // the pool noticed the end of ctx first
		}
	case <-ctx.Done():
		result = c.leave(context.Cause(ctx))
	}
	if result.Err == nil || ctx.Err() == nil || errors.Is(result.Err, context.DeadlineExceeded) {
		trace.Of(ctx).Called(c.clock.Now(), result.Err)
	}
	return result
}

// hasEnded reports whether ctx has ended. When the deadline of ctx has passed, hasEnded
// waits for ctx to end for up to joinFor, because the network may have noticed the same
// deadline first.
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
