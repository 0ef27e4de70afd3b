// Leader shows replicas that elect a leader. The work of the leader checks its fencing token.
//
// The first form is a demo that needs nothing but Go:
//
//	go run ./examples/leader
//
// The demo starts an embedded Redis and three replicas. It kills the leader every few seconds, and
// prints for how long nobody led. It serves a page on the loopback and prints its address: the page
// shows who leads, and has buttons that kill, pause and cut off replicas, and stop Redis. From the
// first button on, the demo kills no leader by itself.
//
// At its end, the demo draws the timeline as text, if the timeline is short. Then it prints a verdict:
// the longest time without a leader, and whether two led at the same time. If two led, the exit code
// is 1. Package timeline says what is measured. Two may lead when the button flush makes Redis lose
// its data, as the docs say, and for milliseconds when the whole demo continues after it was
// stopped for longer than the lease, as by Ctrl-Z.
//
// With -json, every line is a JSON object, and there are objects for the exact times at which each
// term began and ended. -help lists the events and their fields. The lines are not strictly in the
// order of their times.
//
// With -script, it tells stories instead, unattended: a leader dies, is paused, is cut off from Redis,
// or Redis is away. A step that does not come in time is an error. The timeline at the end is drawn
// whatever its length is:
//
//	go run ./examples/leader -script all
//
// With -svg, the demo or the story also writes its timeline to a file, as a picture.
//
// The second form runs one replica on a real Redis. Start it in several terminals, each with an id
// of its own:
//
//	go run ./examples/leader -redis localhost:6379 -id a
//
// With -redis REDIS_URL, the replica takes the URL from the environment variable REDIS_URL. The URL
// may also be for Sentinel or a Cluster, see package redispool.
//
// Nothing is left behind when the demo ends or is killed: no process, no file, no port. There is one
// exception: on systems other than Linux, a replica that is paused while the demo is killed stays.
//
// Ctrl-C or SIGTERM makes a leader hand over at once. After kill -9, the other replicas wait until
// the lease of the leader has run out. kill -STOP and then kill -CONT shows a leader that learns
// late that it has lost the leadership. With -http, a replica answers 200 while it leads and 503
// otherwise. On /healthz it answers 503 only if the process should be killed.
//
// The third form runs a command while it leads, and exits with the status of the command:
//
//	go build -o leader ./examples/leader
//	./leader -redis localhost:6379 -key nightly -- ./report.sh
//
// The command finds SETLOCK_KEY, SETLOCK_OWNER and SETLOCK_FENCE in its environment. Nothing is added
// to its output, except a line on standard error if something is wrong. If the command was ended by a
// signal, the status is 128 and the number of the signal. After a loss, a status of 0 becomes 1.
//
// At Ctrl-C, SIGTERM, SIGHUP or the loss of the leadership, the process group of the command gets SIGTERM. It
// gets SIGKILL later: after a loss early enough that the command is dead before the lease can expire,
// otherwise after -grace, for which the lock is still held, or at a second signal. When the command
// ends, what is left of its process group is killed before the lock is released. A process that
// leaves the group is not killed. Standard input is not handed on if it is a terminal. The election
// ends with the first command: it is not run again.
//
// The writes of the command need the fence all the same. If the wrapper itself is stopped, nobody ends
// the command. If the wrapper is killed, Linux kills the command, but not what the command has started.
// Other systems do not kill the command either, and Windows has neither SIGTERM nor process groups.
// With go run, the exit status is 1 for every status that is not 0.
//
// The leader counts in Redis, in a script that refuses an old leader: see counter.lua.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitOK = iota
	exitFailed
	exitUsage
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	// The first signal ends ctx, so that the program hands over and ends. A second signal kills it.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// endSignals returns the signals that ask the program to end. A terminal that is closed sends SIGHUP,
// which nohup has the program ignore.
func endSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// leaveToParent makes the program do nothing at these signals. A terminal sends them to the parent, too,
// which then tells the program to end, or dies. If the program ended before its parent knew of the
// signal, the parent would count the time between as a time without a leader.
func leaveToParent(signals ...os.Signal) {
	signal.Reset(signals...)
	signal.Notify(make(chan os.Signal, 1), signals...) // Windows would not obey Ignore
}

// run runs the program until ctx ends. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		help(stdout)
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "leader:", err)
		return exitUsage
	}
	if c.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.limit, fmt.Errorf("-for %v is over", c.limit))
		defer cancel()
	}
	if c.command != nil {
		code, err := runCommand(ctx, c, stdin, stdout, stderr)
		if err != nil {
			fmt.Fprintln(stderr, "leader:", redact(err.Error()))
		}
		return code
	}
	out := &printer{w: stdout, json: c.json}
	if c.events {
		// The parent may die first. A write to its pipe then returns an error and kills nobody.
		signal.Ignore(syscall.SIGPIPE)
		out.events = stderr
		if c.stdin {
			leaveToParent(os.Interrupt, syscall.SIGHUP)
		}
	}
	if c.server == nil {
		err = runDemo(ctx, c, out)
	} else {
		err = runReplica(ctx, c, stdin, out)
	}
	if err == nil && !c.events { // the demo, which has the same output, tells it
		err = out.failure() // a full disk, for example
	}
	if err != nil {
		fmt.Fprintln(stderr, "leader:", redact(err.Error()))
		return exitFailed
	}
	return exitOK
}
