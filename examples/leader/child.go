package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"time"

	"example.com/setlock/examples/leader/internal/gate"
	"example.com/setlock/examples/leader/internal/timeline"
)

// A child is a replica in a process of its own.
type child struct {
	id      string
	process *os.Process
	stdin   io.Writer
	gate    *gate.Gate // between the replica and Redis
	killed  bool       // by the demo
	paused  bool
	cut     bool
}

// An exit is the end of a child's process.
type exit struct {
	*child
	time  time.Time
	state *os.ProcessState
}

// startChild starts a replica. The demo holds the other end of its standard input. When ctx ends, the
// demo writes that it is over, and closes the input. When the demo dies, even by kill -9, the system closes the input. In both
// cases the replica ends. A replica that does not end in time is killed.
//
// What the replica reports is sent to reports. Then its end is sent to exits, after Redis can be
// reached through its gate no more. Somebody must receive both.
func startChild(ctx context.Context, d *demo, id string) (*child, error) {
	g, err := gate.New(d.addr)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		g.Close()
		return nil, err
	}
	args := []string{"-redis", g.Addr(), "-id", id, "-key", d.key, "-lease", d.lease.String(), "-stdin", "-events"}
	if d.json {
		args = append(args, "-json")
	}
	cmd := exec.CommandContext(ctx, d.exe, args...)
	cmd.Stdout, cmd.Stderr = d.out.w, w
	if d.script != "" && !d.json {
		cmd.Stdout = nil // a story is told in the lines of the demo
	}
	cmd.WaitDelay = grace
	wakeWithUs(cmd)
	stdin, err := cmd.StdinPipe()
	if err == nil {
		cmd.Cancel = func() error {
			d.end()                              // before any replica ends because of it
			io.WriteString(stdin, orderEnd+"\n") // fails when the replica has ended
			return stdin.Close()
		}
		err = cmd.Start()
	}
	w.Close()
	if err != nil {
		r.Close()
		g.Close()
		return nil, err
	}
	c := &child{id: id, process: cmd.Process, stdin: stdin, gate: g}
	d.waits.Go(func() {
		defer r.Close()
		read := make(chan struct{})
		go func() { // joined below: the end of the process closes the pipe
			defer close(read)
			hear(r, d.reports)
		}()
		cmd.Wait() // its error only repeats the state, or says that ctx ended
		now := time.Now()
		<-read
		g.Close()
		d.exits <- exit{c, now, cmd.ProcessState}
	})
	return c, nil
}

// hear sends the events that a replica writes to r. What else it writes there, such as a panic, is
// passed on.
func hear(r io.Reader, reports chan<- timeline.Event) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		var e timeline.Event
		if bytes.HasPrefix(line, []byte(`{"time":`)) && json.Unmarshal(line, &e) == nil {
			reports <- e
		} else if len(line) > 0 {
			os.Stderr.Write(line)
		}
		if err != nil {
			return
		}
	}
}
