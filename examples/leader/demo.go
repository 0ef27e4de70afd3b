package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"example.com/setlock/examples/leader/internal/timeline"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/redispool"
)

const (
	// demoName is the name in the lines that the demo itself prints.
	demoName = "demo"
	// killAfter is how long a leader leads before the demo kills it. The kill falls between two
	// steps of the leader, so no step is counted but not printed.
	killAfter = 7 * countEvery / 2
	// restartAfter is the pause before the demo starts a replica again that ended by itself.
	restartAfter = time.Second
	// lookEvery is how often the demo checks whether its parent process lives.
	lookEvery = time.Second
	// wakePart is the part of the lease within which a replica that continues must know that its term
	// is over. It is mostly a millisecond; a busy machine takes longer.
	wakePart = 4
	// grace is how long a replica may take to end before it is killed.
	grace = 5 * time.Second
)

// errOrphan ends the demo when its parent process has ended. When go run is killed, it leaves
// the demo running, and no Ctrl-C reaches the demo any more.
var errOrphan = errors.New("the parent process of the demo has ended")

// A demo runs replicas as child processes. Only the goroutine of loop uses the fields after orders.
type demo struct {
	config
	out     *printer
	exe     string // this program
	server  *miniredis.Miniredis
	addr    string              // host:port of server
	reports chan timeline.Event // from the children
	exits   chan exit
	waits   sync.WaitGroup
	views   views
	orders  chan order
	over    chan struct{}    // closed when loop has returned
	end     func() time.Time // when the demo ended: at the first call

	ending   bool      // ctx has ended
	until    time.Time // when it ended
	failed   error     // why the demo cannot go on
	down     bool      // Redis is stopped
	auto     bool      // leaders are killed
	ids      []string
	children map[string]*child
	line     timeline.Timeline
	said     []timeline.Event // the last events with words
	last     string           // who was elected last
	headline string           // what just happened, in a sentence
	leader   string           // the child that leads, by its own reports; "" for none
	foreign  string           // a leader that is no child; "" for none
	kill     *time.Timer
	restart  *time.Timer
}

// runDemo shows an election until ctx ends. It leaves no process behind.
func runDemo(ctx context.Context, c config, out *printer) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if c.svg != "" {
		if err := tryWrite(c.svg); err != nil {
			return fmt.Errorf("-svg: %w", err)
		}
	}
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true)
	if err := server.Start(); err != nil {
		return fmt.Errorf("embedded Redis: %w", err)
	}
	defer server.Close()
	pool, err := (&redispool.Config{Addrs: []string{server.Addr()}}).Pool()
	if err != nil {
		return err
	}
	defer pool.Close()

	d := &demo{
		config: c, out: out, exe: exe, server: server, addr: server.Addr(),
		reports: make(chan timeline.Event), exits: make(chan exit), orders: make(chan order), over: make(chan struct{}),
		end:  sync.OnceValue(func() time.Time { return time.Now().Round(0) }),
		auto: true, ids: []string{"a", "b", "c"}, children: make(map[string]*child),
		line: timeline.Timeline{Wake: c.lease / wakePart, Lease: c.lease},
	}
	what := fmt.Sprintf("kills each leader after %v, until Ctrl-C", killAfter)
	if c.script != "" {
		d.auto, what = false, fmt.Sprintf("tells the story %q", c.script)
	} else if c.limit > 0 {
		what = fmt.Sprintf("kills each leader after %v, for %v", killAfter, c.limit)
	}
	d.say("embedded Redis on redis://%s", server.Addr())
	d.say("has a lease of %v and %s", c.lease, what)
	d.say("another replica joins with: -redis %s -key %q -lease %v -id x", server.Addr(), c.key, c.lease)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := (&setlock.Lock{Key: c.key, Pool: pool, Lease: c.lease}).Watch(ctx)
	var storyErr error
	if c.script == "" {
		page, err := servePage(d, c.http)
		if err != nil {
			return fmt.Errorf("-http: %w", err)
		}
		defer page.close()
		d.say("serves http://%s with buttons to kill, pause and cut off", page.listener.Addr())
	} else {
		d.waits.Go(func() {
			storyErr = d.tellStories(ctx)
			cancel(errTold)
		})
	}
	d.loop(ctx, cancel, watch)
	d.waits.Wait()
	d.failed = errors.Join(d.failed, storyErr)
	d.say("and all replicas have ended: %v", context.Cause(ctx))
	return d.result()
}

func (d *demo) say(format string, args ...any) {
	d.tell(timeline.Event{Who: demoName, Kind: timeline.Note, Text: fmt.Sprintf(format, args...)})
}

// tell prints and remembers e.
func (d *demo) tell(e timeline.Event) { d.remember(d.out.tell(e)) }

// record remembers e, and prints it only as JSON.
func (d *demo) record(e timeline.Event) timeline.Event {
	e = d.out.record(e)
	d.remember(e)
	return e
}

// remember records e, of the demo or of a child, for the timeline and the page.
func (d *demo) remember(e timeline.Event) {
	d.line.Add(e)
	if e.Text != "" && e.Kind != timeline.Counts {
		d.said = append(d.said, e)
		d.said = d.said[max(0, len(d.said)-shown):]
	}
}

// loop runs until ctx has ended and then all children have. An error that it cannot go on with ends
// ctx, by cancel.
func (d *demo) loop(ctx context.Context, cancel context.CancelCauseFunc, watch <-chan setlock.Holder) {
	defer close(d.over)
	d.kill, d.restart = time.NewTimer(killAfter), time.NewTimer(restartAfter)
	d.kill.Stop()
	d.restart.Stop()
	parent, look := os.Getppid(), time.NewTicker(lookEvery)
	defer look.Stop()
	frame := time.NewTicker(frameEvery)
	defer frame.Stop()
	ended := ctx.Done()
	if d.failed = d.startMissing(ctx); d.failed != nil {
		cancel(d.failed)
	}
	for !d.ending || watch != nil || len(d.children) > 0 {
		var err error
		select {
		case <-ended:
			d.ends()
			ended = nil
		case h, open := <-watch:
			if !open {
				watch = nil
				break
			}
			err = d.sees(ctx, h)
		case e := <-d.reports:
			err = d.hears(ctx, e)
		case x := <-d.exits:
			d.ended(x)
		case o := <-d.orders:
			o.result <- d.obey(ctx, o)
		case <-d.kill.C:
			d.killLeader()
		case <-d.restart.C:
			err = d.startMissing(ctx)
		case <-look.C:
			if os.Getppid() != parent {
				err = errOrphan
			}
		case <-frame.C:
		}
		if err != nil {
			d.failed = err
			cancel(err)
		}
		d.views.show(d.view)
	}
}

// ends begins the end of the demo. The end of ctx asks the children to end. One that is paused or cut
// off would not end.
func (d *demo) ends() {
	d.ending = true
	d.until = d.end()
	for _, c := range d.children {
		if c.paused {
			d.record(timeline.Event{Who: c.id, Kind: timeline.Resumed})
			resume(c.process)
		}
		c.gate.Heal()
	}
}

// startMissing starts every replica that does not run.
func (d *demo) startMissing(ctx context.Context) error {
	for _, id := range d.ids {
		if d.children[id] != nil || ctx.Err() != nil {
			continue
		}
		c, err := startChild(ctx, d, id)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("replica %s: %w", id, err)
		}
		if err == nil {
			d.children[id] = c
		}
	}
	return nil
}
