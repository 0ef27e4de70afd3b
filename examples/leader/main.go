// Leader is replicas that elect a leader, and a leader whose work checks its
// fencing token.
//
//	go run ./examples/leader
//
// needs nothing but Go: it starts an embedded Redis and three replicas, kills the
// leader every few seconds, and shows how long nobody led.
//
//	go run ./examples/leader -redis localhost:6379 -id a
//
// is one replica on a real Redis, to be started in as many terminals as one
// likes. Ctrl-C or SIGTERM makes a leader hand over at once, kill -9 makes the
// others wait for its lease, and kill -STOP followed by kill -CONT shows a leader
// that learns late that it is none any more. With -http it answers 200 while it
// leads and 503 otherwise.
//
// The leader counts, in Redis, in a script that refuses whoever has been
// replaced: see counter.lua.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Exit codes.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the program in good order; a second one kills it.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program until ctx ends. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		help(stdout)
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "leader:", redact(err.Error()), "(-help lists the flags)")
		return exitUsage
	}
	if c.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.limit, fmt.Errorf("-for %v is over", c.limit))
		defer cancel()
	}
	out := &printer{w: stdout}
	if c.url == "" {
		err = runDemo(ctx, c, out)
	} else {
		err = runReplica(ctx, c, stdin, out)
	}
	if err != nil {
		fmt.Fprintln(stderr, "leader:", redact(err.Error()))
		return exitFailed
	}
	return exitOK
}

// A printer writes lines, each in one piece, so that processes can share their
// output.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

// line writes when it was called, whom the line is about, and what there is
// to say.
func (p *printer) line(who, format string, args ...any) {
	text := fmt.Sprintf("%s  %-4s  %s\n", time.Now().Format("15:04:05.000"), who, redact(fmt.Sprintf(format, args...)))
	p.mu.Lock()
	defer p.mu.Unlock()
	io.WriteString(p.w, text)
}
