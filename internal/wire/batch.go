package wire

import (
	"context"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/protocol"
)

// flushAfter is how many commands of a batch are written to the network together.
const flushAfter = 128

// A Batch is a list of commands that are sent together, pipelined, on one connection.
type Batch struct {
	Commands []protocol.Command // of one script; DoAll may change them

	// Replicas is the number of replicas that must confirm the writes of all commands
	// within Wait. Fewer are an error of each command that wrote.
	Replicas int
	Wait     time.Duration

	// Answered is called with the result of each command that Redis has answered, when the
	// answer has come, by the goroutine of DoAll. i is the index of the command.
	Answered func(i int, r Result)
}

// DoAll sends a batch on a connection of pool. It blocks until Redis has answered, the
// connection breaks, or ctx ends. It returns nil when Redis has answered all commands.
// Otherwise it returns why Redis has not, and the fate of the others: NotSent or Unknown.
//
// DoAll blocks for longer than ctx lives when Dial does, or when the connection cannot be
// interrupted. When Dial returns after the end of ctx, DoAll sends nothing.
func DoAll(ctx context.Context, pool *redis.Pool, b Batch) (Fate, error) {
	conn, err := connect(ctx, pool)
	if err != nil {
		return NotSent, err
	}
	if ctx.Err() != nil {
		conn.Close()
		return NotSent, context.Cause(ctx)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		interrupt(conn)
	})
	p := pipeline{Batch: b, conn: conn, clock: clock.FromContext(ctx)}
	err = p.run()
	if !stop() {
		<-interrupted
	}
	if p.notServing {
		drop(conn)
	}
	conn.Close()
	switch {
	case err == nil:
		return Answered, nil
	case ctx.Err() != nil:
		return Unknown, context.Cause(ctx)
	}
	return Unknown, err
}

// A pipeline is a Batch that is under way.
type pipeline struct {
	Batch
	conn       redis.Conn
	clock      clock.Clock
	notServing bool // a server that does not serve has answered
}

// run sends all commands. Where the server did not have the script in its cache, run sends the
// commands concerned once more: the first of them with the source of the script, which
// loads the script for those behind it.
func (p *pipeline) run() error {
	all := make([]int, len(p.Commands))
	for i := range all {
		all[i] = i
	}
	again, err := p.round(all, true)
	if err != nil || len(again) == 0 {
		return err
	}
	p.Commands[again[0]] = p.Commands[again[0]].WithSource()
	_, err = p.round(again, false)
	return err
}

// round sends the commands with the given indices, and receives their replies. If retry is
// true, round returns the indices of the commands whose script the server did not have. All
// commands count as sent when the round began.
func (p *pipeline) round(indices []int, retry bool) (again []int, err error) {
	sent := p.clock.Now()
	if len(indices) == 1 {
		if err := p.send(indices); err != nil {
			return nil, err
		}
		return p.receive(indices, sent, retry)
	}
	// A server may stop reading while its replies are not read. So one goroutine sends while
	// this one receives, as redigo allows.
	var sending sync.WaitGroup
	sending.Go(func() { p.send(indices) }) // after an error here, receive gets an error, too
	again, err = p.receive(indices, sent, retry)
	if err != nil {
		interrupt(p.conn) // send may be blocked
	}
	sending.Wait()
	return again, err
}

// send sends the commands with the given indices, and the command that waits for the
// replicas.
func (p *pipeline) send(indices []int) error {
	for n, i := range indices {
		if n > 0 && n%flushAfter == 0 {
			if err := p.conn.Flush(); err != nil {
				return err
			}
		}
		if err := p.conn.Send(p.Commands[i].Name, p.Commands[i].Args...); err != nil {
			return err
		}
	}
	if p.Replicas > 0 {
		wait := protocol.Wait(p.Replicas, p.Wait)
		if err := p.conn.Send(wait.Name, wait.Args...); err != nil {
			return err
		}
	}
	return p.conn.Flush()
}

// receive receives the replies to the commands with the given indices.
func (p *pipeline) receive(indices []int, sent time.Time, retry bool) (again []int, err error) {
	var written []int // wait for the replicas
	var replies []any
	for _, i := range indices {
		reply, err := p.conn.Receive()
		switch {
		case err != nil && !IsAnswer(err):
			return nil, err
		case err != nil && retry && AnsweredWith(err, "NOSCRIPT"):
			again = append(again, i)
		case err != nil:
			p.notServing = p.notServing || AnsweredWith(err, notServing...)
			p.Answered(i, Result{Sent: sent, Fate: Refused, Err: err})
		case p.Replicas > 0 && protocol.Wrote(reply):
			written, replies = append(written, i), append(replies, reply)
		default:
			p.Answered(i, Result{Reply: reply, Sent: sent, Fate: Answered})
		}
	}
	if p.Replicas == 0 {
		return again, nil
	}
	reply, err := p.conn.Receive()
	if err != nil && !IsAnswer(err) {
		return nil, err
	}
	err = confirmed(reply, err, p.Replicas)
	for n, i := range written {
		p.Answered(i, Result{Reply: replies[n], Sent: sent, Fate: Answered, Err: err})
	}
	return again, nil
}
