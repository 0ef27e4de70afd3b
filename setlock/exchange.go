package setlock

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/seam"
)

// A fate is what has become of an exchange's script.
type fate int

const (
	notSent  fate = iota // it never went out
	refused              // Redis has answered that it did not run it
	answered             // it ran, and Redis has answered
	undone               // an acquisition that ran, and was released again on the same server
	unknown              // it went out and no answer came: it has run, may run yet, or never will
)

// ran reports whether the script has run, or may run yet.
func (f fate) ran() bool { return f >= answered }

// A result is what became of an exchange.
type result struct {
	reply any
	sent  time.Time // before the request went out; zero: it never did
	fate  fate
	err   error // why there is no reply, or one that does not count
}

type phase int

const (
	dialling phase = iota // waiting for a connection: nothing was sent
	writing
	reading
	over // the connection is not used any more
)

// An exchange runs one script, once: one round trip, or two when the server does
// not know the script yet. The connection belongs to run, which may be blocked in
// the pool, in somebody's Dial or in the network; the caller leaves when its
// context ends, and takes the connection away.
type exchange struct {
	script *script
	args   []any   // of EVALSHA, see script.with
	room   [10]any // for args, as long as they fit

	// replicas must confirm what the script wrote, within wait.
	replicas int
	wait     time.Duration

	// Of an acquisition, the Lock and the hold: for the release that takes it
	// back when nobody waits for it any more.
	lock *Lock
	hold *hold

	pool   *redis.Pool
	clock  clock.Clock
	conn   redis.Conn    // set by run before it leaves the phase dialling
	astray bool          // conn leads to a server that does not serve, see astray
	result result        // set by run before done is closed
	done   chan struct{} // closed when run has given the connection back; nil: nobody waits

	mu        sync.Mutex // guards what follows
	phase     phase
	left      bool           // the caller leaves
	gone      bool           // it has left without a result
	ended     bool           // run has a result
	announced bool           // subscribers may have been told of the acquisition
	piped     chan struct{}  // not nil: abandon sends the undo behind the acquisition; closed when it may stop
	sent      time.Time      // as in result
	cut       sync.WaitGroup // what abandon started
}

var (
	errLeft     = errors.New("the caller has left")
	errNoResult = errors.New("the call has ended without a result: runtime.Goexit in the Pool's Dial or TestOnBorrow")
	errNilConn  = errors.New("the Pool's Dial returned no connection and no error")
)

// do runs the script on a connection of pool. It blocks until Redis has answered
// or ctx has ended; then, if the pool is still dialling, at once, and otherwise
// after at most joinFor. A helper that is stuck in the pool's Dial ends when
// that does and sends nothing; one that undoes an acquisition ends within
// undoFor on this connection, or twice that with another one.
func (x *exchange) do(ctx context.Context, pool *redis.Pool) result {
	if ctx.Err() != nil {
		return result{err: context.Cause(ctx)}
	}
	x.pool, x.clock = pool, clock.FromContext(ctx)
	if ctx.Done() == nil {
		x.run(ctx)
		seam.Exchanged(ctx, x.clock.Now(), x.result.err)
		return x.result
	}
	x.done = make(chan struct{})
	go x.run(ctx) // joined below, except as the comment above says
	var r result
	select {
	case <-x.done:
		r = x.result
		if r.err != nil && !isAnswer(r.err) && ended(ctx, x.clock) {
			r.err = context.Cause(ctx) // the pool was quicker to see it
		}
	case <-ctx.Done():
		r = x.leave(context.Cause(ctx))
	}
	if r.err == nil || ctx.Err() == nil || errors.Is(r.err, context.DeadlineExceeded) {
		seam.Exchanged(ctx, x.clock.Now(), r.err)
	}
	return r
}

// ended reports whether ctx has ended, or is about to: a network looks at its
// deadline, too.
func ended(ctx context.Context, c clock.Clock) bool {
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

// undo returns the exchange that takes an acquisition back. Its release is announced
// where the acquisition may have been: nobody else waits for it.
func (x *exchange) undo() *exchange {
	x.mu.Lock()
	announced := x.announced
	x.mu.Unlock()
	return x.lock.releasing(announced, x.hold.arg)
}

// leave takes the connection away from run and returns what is known by then;
// cause is why the caller leaves.
func (x *exchange) leave(cause error) result {
	x.mu.Lock()
	x.left = true
	phase := x.phase
	if phase == reading && x.lock != nil {
		x.piped = make(chan struct{})
	}
	if phase == writing || phase == reading {
		x.cut.Add(1)
		go x.abandon(x.piped) // joined by run
	}
	x.mu.Unlock()
	if phase == dialling {
		return result{err: cause}
	}
	timer := x.clock.NewTimer(joinFor)
	defer timer.Stop()
	select {
	case <-x.done:
	case <-timer.C():
		x.mu.Lock()
		x.gone = !x.ended
		r := result{sent: x.sent, fate: unknown, err: cause}
		x.mu.Unlock()
		if x.gone {
			return r
		}
		<-x.done
	}
	r := x.result
	if r.err != nil && !isAnswer(r.err) {
		r.err = cause
	}
	return r
}

// abandon ends what run is blocked in. An acquisition on its way is undone on
// the same connection, where nothing can come between the two, even on a server
// that is paused and runs both later.
func (x *exchange) abandon(piped <-chan struct{}) {
	defer x.cut.Done()
	if piped == nil {
		interrupt(x.conn)
		return
	}
	x.cut.Add(1)
	timer := x.clock.AfterFunc(undoFor, func() {
		defer x.cut.Done()
		interrupt(x.conn)
	})
	// An error here has broken the connection, and run sees it.
	if undo := x.undo(); undo.script.send(x.conn, undo.args) == nil {
		x.conn.Flush()
	}
	<-piped
	if timer.Stop() {
		x.cut.Done()
	}
}

// run gets a connection, talks, and gives the connection back.
func (x *exchange) run(ctx context.Context) {
	defer x.finish()
	r := &x.result
	r.err = errNoResult // until there is one: a Goexit in somebody's code leaves here
	conn, err := connect(ctx, x.pool)
	if err != nil {
		r.err = err
		return
	}
	x.conn = conn
	r.reply, r.err = x.talk()

	x.mu.Lock()
	x.phase = over
	r.sent = x.sent
	piped := x.piped
	x.mu.Unlock()
	if piped != nil {
		r.err = errLeft
		if reply, err := x.receive(); err == nil && isReleaseReply(reply) {
			r.fate = undone
		}
		x.endPipe()
	}
	x.cut.Wait()
	if x.astray {
		drop(conn)
	}
	conn.Close()
	if x.lock == nil {
		return
	}
	if r.err != nil && (r.fate == answered || r.fate == unknown) {
		r.fate = x.takeBack(ctx)
	}
	x.mu.Lock()
	x.ended = true
	gone := x.gone
	x.mu.Unlock()
	fate := r.fate // r is the caller's
	if gone && r.err == nil {
		fate = x.takeBack(ctx) // it has come after all, and nobody knows
	}
	if gone {
		x.lock.settle(x.hold.value, fate)
	}
}

// finish ends run, also after a panic or a Goexit in somebody's code: nobody waits
// for ever.
func (x *exchange) finish() {
	x.mu.Lock()
	x.ended = true
	if x.result.err == errNoResult && x.phase != dialling {
		x.result.sent, x.result.fate = x.sent, unknown
	}
	x.phase = over
	x.mu.Unlock()
	x.endPipe()
	if x.done != nil {
		close(x.done)
	}
}

// endPipe lets abandon end.
func (x *exchange) endPipe() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.piped != nil {
		close(x.piped)
		x.piped = nil
	}
}

// talk runs the script, waits for the replicas, and announces what they have confirmed.
func (x *exchange) talk() (any, error) {
	r := &x.result
	reply, err := x.round(x.script.sendHash, x.args)
	if refusedWith(err, "NOSCRIPT") {
		reply, err = x.round(x.script.send, x.args)
	}
	switch {
	case err == errLeft:
		r.fate = notSent
	case isAnswer(err):
		r.fate = refused
	case err != nil:
		r.fate = unknown
	default:
		r.fate = answered
	}
	if err != nil || x.replicas == 0 || !wrote(reply) {
		return reply, err
	}
	if err = x.confirm(); err == nil {
		x.announce(reply)
		return reply, nil
	}
	if x.lock != nil {
		undo := x.undo()
		if reply, err := x.round(undo.script.send, undo.args); err == nil && isReleaseReply(reply) {
			r.fate = undone
		}
	}
	return reply, err
}

// announce tells subscribers of an acquisition that replicas have confirmed. Without the
// right to publish, or when the connection breaks, speed is lost and nothing else.
func (x *exchange) announce(reply any) {
	a, err := acquireReply(reply)
	if x.lock == nil || err != nil {
		return
	}
	x.mu.Lock()
	x.announced = true
	x.mu.Unlock()
	n := x.lock.redisNames()
	message := acquiredMessage(a, x.hold.belief.ttl, x.hold.value)
	x.round(func(conn redis.Conn, _ []any) error { return conn.Send("PUBLISH", n.channel, message) }, nil)
}

// confirm waits for the replicas to have what the script wrote, see
// https://redis.io/docs/latest/commands/wait/.
func (x *exchange) confirm() error {
	send := func(conn redis.Conn, args []any) error { return conn.Send("WAIT", args...) }
	reply, err := x.round(send, []any{x.replicas, milliseconds(x.wait)})
	if err != nil {
		return fmt.Errorf("waiting for replicas: %w", err)
	}
	n, err := intReply(reply)
	if err != nil {
		return fmt.Errorf("waiting for replicas: %w", err)
	}
	if n < int64(x.replicas) {
		return fmt.Errorf("confirmed by %d of %d replicas", n, x.replicas)
	}
	return nil
}

// wrote reports whether reply, of any of the scripts, says that it changed the
// lock.
func wrote(reply any) bool {
	if values, ok := reply.([]any); ok {
		return len(values) > 0 && values[0] == int64(replyAcquired)
	}
	return reply != int64(replyNotMine)
}

// takeBack undoes, on a new connection, an acquisition whose own one broke. Unless there
// was something to undo, the acquisition may still arrive.
func (x *exchange) takeBack(ctx context.Context) fate {
	ctx, cancel := clock.WithTimeout(context.WithoutCancel(ctx), undoFor)
	defer cancel()
	r := x.undo().do(ctx, x.pool)
	if r.err == nil && r.reply == int64(replyReleased) {
		return undone
	}
	return unknown
}

// round sends one command and receives its reply.
func (x *exchange) round(send func(redis.Conn, []any) error, args []any) (any, error) {
	if !x.enter(writing) {
		return nil, errLeft
	}
	if err := send(x.conn, args); err != nil {
		return nil, err
	}
	if err := x.conn.Flush(); err != nil {
		return nil, err
	}
	x.enter(reading)
	return x.receive()
}

// receive receives one reply.
func (x *exchange) receive() (any, error) {
	reply, err := x.conn.Receive()
	x.astray = x.astray || isAstray(err)
	return reply, err
}

// enter notes what run does next. It returns false when the caller has left.
func (x *exchange) enter(p phase) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.left {
		return false
	}
	if x.phase == dialling {
		x.sent = x.clock.Now()
	}
	x.phase = p
	return true
}

// connect gets a connection of pool.
func connect(ctx context.Context, pool *redis.Pool) (conn redis.Conn, err error) {
	// A redigo pool (v1.9.3) with Wait and MaxActive that was closed panics when
	// its GetContext meets a context that has ended. That is a closed pool
	// and nothing else; any other panic goes on.
	defer func() {
		if !pool.Wait || pool.MaxActive <= 0 || ctx.Err() == nil {
			return
		}
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			if r.Error() != "send on closed channel" {
				panic(r)
			}
			err = errPoolClosed
		default:
			panic(r)
		}
	}()
	conn, err = pool.GetContext(ctx)
	if err == nil && isNil(conn) {
		return nil, errNilConn
	}
	return conn, err
}

// isNil reports whether conn, which a redigo pool (v1.9.3) has returned, holds nothing because
// Dial returned nil without an error: its every method panics.
func isNil(conn redis.Conn) (is bool) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			is = true
		default:
			panic(r)
		}
	}()
	conn.Err()
	return false
}

var errPoolClosed = errors.New("the pool is closed")

// interrupt breaks conn, so that a goroutine that is blocked in it comes back
// with an error, and so that its pool does not keep it. Unlike Close, it may be
// called while another goroutine uses conn. redigo closes a connection that is
// to receive by a deadline that has passed.
func interrupt(conn redis.Conn) {
	if c, ok := conn.(redis.ConnWithContext); ok {
		c.ReceiveContext(pastDeadline{context.Background()})
	}
}

// drop has the pool of conn, which leads to a server that does not serve, dial anew next
// time. A connection that cannot be interrupted is put into a state that redigo's pools
// cannot reset: they close such a connection.
func drop(conn redis.Conn) {
	interrupt(conn)
	if conn.Err() == nil {
		conn.Send("MONITOR")
	}
}

// pastDeadline is a context whose deadline has passed.
type pastDeadline struct{ context.Context }

func (pastDeadline) Deadline() (time.Time, bool) { return time.Unix(0, 0), true }
