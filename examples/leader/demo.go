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
	// grace is how long a replica may take to end before it is killed.
	grace = 5 * time.Second
)

var (
	// errOrphan ends the demo when its parent process has ended. When go run is killed, it leaves
	// the demo running, and no Ctrl-C reaches the demo any more.
	errOrphan = errors.New("the parent process of the demo has ended")
	// errTwoLed is the result of a run in which two replicas led at the same time.
	errTwoLed = errors.New("two replicas led at the same time")
)

// A demo runs replicas as child processes. Only the goroutine of loop uses the fields after orders.
type demo struct {
	config
	out     *printer
	exe     string // this program
	server  *miniredis.Miniredis
	reports chan timeline.Event // from the children
	exits   chan exit
	waits   sync.WaitGroup
	views   views
	orders  chan order
	over    chan struct{} // closed when loop has returned

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
		config: c, out: out, exe: exe, server: server,
		reports: make(chan timeline.Event), exits: make(chan exit), orders: make(chan order), over: make(chan struct{}),
		auto: true, ids: []string{"a", "b", "c"}, children: make(map[string]*child),
		line: timeline.Timeline{Wake: c.lease / 10},
	}
	until := "until Ctrl-C"
	if c.limit > 0 {
		until = fmt.Sprintf("for %v", c.limit)
	}
	d.say("embedded Redis on %s, lease %v, kills each leader after %v, %s", server.Addr(), c.lease, killAfter, until)
	d.say("another replica joins with: -redis %s -key %q -lease %v -id x", server.Addr(), c.key, c.lease)

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := (&setlock.Lock{Key: c.key, Pool: pool, Lease: c.lease}).Watch(ctx)
	d.loop(ctx, cancel, watch)
	d.waits.Wait()
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
	d.until = time.Now().Round(0)
	for _, c := range d.children {
		if c.paused {
			d.record(timeline.Event{Who: c.id, Kind: timeline.Resumed})
			resume(c.process)
		}
		c.gate.Heal()
	}
}

// sees takes note of a leader that reports nothing, because another terminal has started it.
func (d *demo) sees(ctx context.Context, h setlock.Holder) error {
	if d.foreign != "" {
		d.record(timeline.Event{Who: d.foreign, Kind: timeline.Unseen, Text: "is not seen to lead any more"})
		d.foreign = ""
	}
	if h.Nobody() {
		return nil
	}
	if d.children[h.Owner] == nil {
		d.foreign = h.Owner
		e := d.record(timeline.Event{Who: h.Owner, Kind: timeline.Seen, Fence: h.Fence, Text: "is seen to lead"})
		d.greet(e)
	}
	return d.startMissing(ctx)
}

// hears takes note of what a child reports. The child has printed its words.
func (d *demo) hears(ctx context.Context, e timeline.Event) error {
	d.remember(e)
	switch e.Kind {
	case timeline.Elected:
		d.leader = e.Who
		d.kill.Reset(killAfter)
		d.greet(e)
		return d.startMissing(ctx)
	case timeline.Told:
		if d.leader == e.Who {
			d.leader = ""
		}
	}
	return nil
}

// greet tells of a new leader, and for how long there was none before it.
func (d *demo) greet(e timeline.Event) {
	d.last = e.Who
	for _, g := range timeline.Gaps(d.line.Terms(e.Time), e.Time) {
		if g.To.Equal(e.Time) && !g.Open {
			gap := g.Length().Round(time.Millisecond)
			d.say("sees %s lead; nobody led for %v", e.Who, gap)
			d.headline = fmt.Sprintf("%s leads. Nobody led for %v, because %s %s.", e.Who, gap, g.Who, g.After)
			return
		}
	}
	d.say("sees %s lead", e.Who)
	d.headline = e.Who + " leads."
}

// ended records the end of a child. It prints the end unless the end is expected, because the demo
// has killed the child or because the demo ends.
func (d *demo) ended(x exit) {
	delete(d.children, x.id)
	led := d.leader == x.id
	if led {
		d.leader = ""
	}
	e := timeline.Event{Time: x.time, Who: x.id, Kind: timeline.Dead, Text: "was killed"}
	switch {
	case x.killed:
		d.record(e)
		if led {
			d.restart.Reset(d.lease + restartAfter) // or earlier, when the next leader is elected
		} else {
			d.restart.Reset(restartAfter)
		}
	case d.ending && x.state.ExitCode() == 0:
		e.Text = "has ended"
		d.record(e)
	default:
		e.Text = fmt.Sprintf("has ended by itself: %v", x.state)
		d.record(e)
		d.say("%s %s", x.id, e.Text)
		d.restart.Reset(restartAfter)
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

// result prints the verdict. It returns why the run failed, if it did.
func (d *demo) result() error {
	v := d.line.Judge(d.until)
	d.tell(timeline.Event{Who: demoName, Kind: timeline.Judgment, Text: "verdict: " + v.String(), Verdict: &v})
	if v.Overlaps > 0 {
		return errors.Join(d.failed, errTwoLed)
	}
	return d.failed
}
