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

// errOrphan ends the demo when its parent process has ended. When go run is killed, it leaves the
// demo running, and no Ctrl-C reaches the demo any more.
var errOrphan = errors.New("the parent process of the demo has ended")

// ids are the names of the replicas.
var ids = []string{"a", "b", "c"}

// A demo runs replicas as child processes and kills each leader. Only the goroutine of loop uses
// its fields.
type demo struct {
	config
	addr     string // host:port of the embedded Redis
	out      *printer
	exe      string // this program
	children map[string]*child
	exits    chan exit // has room for every child
	waits    sync.WaitGroup

	leader setlock.Holder
	vacant time.Time // since when nobody leads; zero while there is a leader, and before the first
}

type child struct {
	id      string
	process *os.Process
	killed  bool // by the demo
}

// An exit is the end of a child's process.
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
	pool, err := (&redispool.Config{Addrs: []string{server.Addr()}}).Pool()
	if err != nil {
		return err
	}
	defer pool.Close()

	d := &demo{config: c, addr: server.Addr(), out: out, exe: exe, children: make(map[string]*child), exits: make(chan exit, len(ids))}
	until := "until Ctrl-C"
	if c.limit > 0 {
		until = fmt.Sprintf("for %v", c.limit)
	}
	d.say("embedded Redis on %s, lease %v, kills each leader after %v, %s", d.addr, c.lease, killAfter, until)
	d.say("another replica joins with: -redis %s -key %q -lease %v -id x", d.addr, c.key, c.lease)
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
		d.say("and all replicas have ended: %v", cause)
	}
	return err
}

func (d *demo) say(format string, args ...any) { d.out.line(demoName, format, args...) }

// loop runs until ctx ends. The end of ctx closes watch and asks the children to end.
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
				restart.Reset(restartAfter) // in the other case, when the next leader is seen
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

// sees records and prints the new leader.
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
		d.vacant = time.Now() // the leader has handed over, or its lease has run out
	}
}

// killLeader kills the leader, as kill -9 does, if the leader lives and is one of the children.
func (d *demo) killLeader() {
	c := d.children[d.leader.Owner]
	if c == nil || !d.vacant.IsZero() {
		return
	}
	d.say("kills %s, which cannot hand over: its lease must run out", c.id)
	c.killed = true
	d.vacant = time.Now()
	c.process.Kill() // an error means that the process has ended already
}

// ended records the end of a child. It prints the end unless the end is expected, because the demo
// has killed the child or because ctx has ended.
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

// start starts a replica. The demo holds the other end of the replica's standard input and writes
// nothing to it. When ctx ends, the demo closes the input. When the demo dies, even by kill -9, the
// system closes the input. In both cases the replica ends.
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
			return nil // the demo is about to end
		}
		return err
	}
	c := &child{id: id, process: cmd.Process}
	d.children[id] = c
	d.waits.Go(func() {
		cmd.Wait() // its error only repeats the state, or says that ctx ended
		d.exits <- exit{c, cmd.ProcessState}
	})
	return nil
}
