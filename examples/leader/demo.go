package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"example.com/setlock/setlock"
)

const (
	// demoName is whom the lines of the demo itself are about.
	demoName = "demo"
	// killAfter is how long a leader leads before it is killed: between two of its
	// steps, so that none is counted without being shown.
	killAfter = 7 * countEvery / 2
	// restartAfter is the pause before a replica that has ended by itself is
	// started again.
	restartAfter = time.Second
	// lookEvery is how often the demo looks whether whoever started it lives.
	lookEvery = time.Second
	// grace is how long replicas may take to end before they are killed.
	grace = 5 * time.Second
)

// errOrphan ends a demo that nobody could end: go run hands a Ctrl-C on, and
// leaves its program behind when it is killed.
var errOrphan = errors.New("the process that started the demo has gone")

// ids are the names of the replicas.
var ids = []string{"a", "b", "c"}

// A demo runs replicas as child processes and kills those that lead. All of it
// belongs to the goroutine of loop.
type demo struct {
	config
	out      *printer
	exe      string // this program
	children map[string]*child
	exits    chan exit // has room for every child
	waits    sync.WaitGroup

	leader setlock.Holder
	vacant time.Time // since when nobody leads; zero while somebody does, and at first
}

type child struct {
	id      string
	process *os.Process
	killed  bool // by the demo
}

// An exit is the end of a child's process, and how it came.
type exit struct {
	*child
	state *os.ProcessState
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
	if c.url, c.addr, err = parseRedis(server.Addr()); err != nil {
		return err
	}
	pool := newPool(c.url)
	defer pool.Close()

	d := &demo{config: c, out: out, exe: exe, children: make(map[string]*child), exits: make(chan exit, len(ids))}
	until := "until Ctrl-C"
	if c.limit > 0 {
		until = fmt.Sprintf("for %v", c.limit)
	}
	d.say("embedded Redis on %s, lease %v, kills each leader after %v, %s", c.addr, c.lease, killAfter, until)
	d.say("another replica joins with: -redis %s -key %q -lease %v -id x", c.addr, c.key, c.lease)
	watching, cancel := context.WithCancel(ctx)
	watch := (&setlock.Lock{Key: c.key, Pool: pool, Lease: c.lease}).Watch(watching)
	err = d.loop(watching, watch)
	cause := context.Cause(ctx)
	cancel()
	d.waits.Wait()
	close(d.exits)
	for x := range d.exits {
		d.ended(watching, x)
	}
	for range watch {
	}
	if err == nil {
		d.say("has ended, and all replicas: %v", cause)
	}
	return err
}

func (d *demo) say(format string, args ...any) { d.out.line(demoName, format, args...) }

// loop runs until ctx ends, which closes watch and asks the children to end.
func (d *demo) loop(ctx context.Context, watch <-chan setlock.Holder) error {
	kill, restart := time.NewTimer(killAfter), time.NewTimer(restartAfter)
	kill.Stop()
	restart.Stop()
	parent, look := os.Getppid(), time.NewTicker(lookEvery)
	defer look.Stop()
	if err := d.startMissing(ctx); err != nil {
		return err
	}
	for {
		select {
		case h, open := <-watch:
			if !open {
				return nil
			}
			d.sees(h)
			if h.Nobody() {
				break
			}
			kill.Reset(killAfter)
			if err := d.startMissing(ctx); err != nil {
				return err
			}
		case <-kill.C:
			d.killLeader()
		case x := <-d.exits:
			d.ended(ctx, x)
			if !x.killed || d.vacant.IsZero() {
				restart.Reset(restartAfter) // else when another leads
			}
		case <-look.C:
			if os.Getppid() != parent {
				return errOrphan
			}
		case <-restart.C:
			if err := d.startMissing(ctx); err != nil {
				return err
			}
		}
	}
}

// sees notes who leads now.
func (d *demo) sees(h setlock.Holder) {
	led := !d.leader.Nobody()
	d.leader = h
	switch {
	case !h.Nobody() && !d.vacant.IsZero():
		d.say("sees %s lead; nobody led for %v", h.Owner, time.Since(d.vacant).Round(time.Millisecond))
		d.vacant = time.Time{}
	case !h.Nobody():
		d.say("sees %s lead", h.Owner)
	case led && d.vacant.IsZero():
		d.vacant = time.Now() // it has handed over, or its lease has run out
	}
}

// killLeader kills the leader, as kill -9 does, if it lives and is one of the
// children.
func (d *demo) killLeader() {
	c := d.children[d.leader.Owner]
	if c == nil || !d.vacant.IsZero() {
		return
	}
	d.say("kills %s, which cannot hand over: its lease has to run out", c.id)
	c.killed = true
	d.vacant = time.Now()
	c.process.Kill() // fails if it has ended, which is all the same
}

// ended notes the end of a child. It says so unless that was to be: the demo has
// killed it, or all end with ctx.
func (d *demo) ended(ctx context.Context, x exit) {
	delete(d.children, x.id)
	if x.killed || ctx.Err() != nil && x.state.ExitCode() == 0 {
		return
	}
	d.say("%s has ended by itself: %v", x.id, x.state)
	if x.id == d.leader.Owner && d.vacant.IsZero() {
		d.vacant = time.Now()
	}
}

// startMissing starts every replica that does not run.
func (d *demo) startMissing(ctx context.Context) error {
	for _, id := range ids {
		if d.children[id] == nil {
			if err := d.start(ctx, id); err != nil {
				return fmt.Errorf("replica %s: %w", id, err)
			}
		}
	}
	return nil
}

// start starts a replica. The demo holds its standard input and does nothing
// with it: when ctx ends, it is closed, and when the demo dies, however that
// happens, the system closes it. Either way the replica ends.
func (d *demo) start(ctx context.Context, id string) error {
	cmd := exec.CommandContext(ctx, d.exe,
		"-redis", d.addr, "-id", id, "-key", d.key, "-lease", d.lease.String(), "-stdin")
	cmd.Stdout, cmd.Stderr = d.out.w, os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Cancel = stdin.Close
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return nil // too late to start anything
		}
		return err
	}
	c := &child{id: id, process: cmd.Process}
	d.children[id] = c
	d.waits.Go(func() {
		cmd.Wait() // what it returns besides the state is how ctx ended
		d.exits <- exit{c, cmd.ProcessState}
	})
	return nil
}
