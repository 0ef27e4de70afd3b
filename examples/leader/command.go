package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

const (
	// killPart is the part of the lease for which a command may run on after a loss. Its context
	// ends a tenth of the lease before the key can expire, so half of this is left for the kill.
	killPart = 20
	// buryPart is the part of the lease for which a killed process group may take to die.
	buryPart = 50
	// signalled is added to the number of the signal that has ended a command, as shells do.
	signalled = 128
)

// errDone ends an election whose command has ended.
var errDone = errors.New("the command has ended")

// A wrapper runs a command while it leads. The command is its process and all others of the process
// group, unless they leave the group.
type wrapper struct {
	config
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	lost   chan struct{}  // closed on a loss
	hurry  chan os.Signal // signals; from the second on, the command is killed
	status int            // of the command; -1: it did not run
}

// runCommand waits until it leads, runs the command, and returns its exit status. A loss of the
// leadership makes it exitFailed if it was exitOK. The own words of runCommand go to stderr, and only
// if something is wrong.
func runCommand(ctx context.Context, c config, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	pool, err := c.server.Pool()
	if err != nil {
		return exitFailed, fmt.Errorf("-redis: %w", err)
	}
	defer pool.Close()
	w := &wrapper{config: c, stdin: stdin, stdout: stdout, stderr: stderr, lost: make(chan struct{}), hurry: make(chan os.Signal, 2), status: -1}
	signal.Notify(w.hurry, endSignals()...)
	defer signal.Stop(w.hurry)
	e := &election.Election{
		Lock:      &setlock.Lock{Key: c.key, Pool: pool, Owner: c.id, Lease: c.lease},
		OnElected: w.lead,
	}
	checked, cancel := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	changes := e.Changes()
	var loss error
	helpers.Go(func() {
		for change := range changes {
			if errors.Is(change.Err, setlock.ErrLost) && loss == nil {
				loss = change.Err
				close(w.lost)
			}
		}
	})
	out := &printer{w: stderr}
	helpers.Go(func() { checkUp(checked, e, func(format string, args ...any) { out.line(c.id, format, args...) }) })
	err = e.Run(ctx)
	cancel()
	helpers.Wait()

	switch {
	case err != nil && !errors.Is(err, errDone):
		return exitFailed, err
	case w.status < 0:
		return exitFailed, fmt.Errorf("the command was not run: %w", context.Cause(ctx))
	case loss != nil && w.status == exitOK:
		return exitFailed, fmt.Errorf("the command was stopped: %w", loss)
	case loss != nil:
		return w.status, fmt.Errorf("the command was stopped: %w", loss)
	}
	return w.status, nil
}

// lead runs the command. It is the OnElected of the election, so the lock is released when it has
// returned: when nothing of the command runs any more.
func (w *wrapper) lead(ctx context.Context) error {
	// Linux kills the command when the thread that has started it ends. This goroutine keeps the
	// thread for as long as the command runs.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	fence, _ := setlock.FenceFromContext(ctx)
	cmd := exec.Command(w.command[0], w.command[1:]...)
	cmd.Env = append(os.Environ(), "SETLOCK_KEY="+w.key, "SETLOCK_OWNER="+w.id, "SETLOCK_FENCE="+strconv.FormatInt(fence, 10))
	cmd.Stdout, cmd.Stderr = w.stdout, w.stderr
	if !terminal(w.stdin) { // a process group in the background must not read from a terminal
		cmd.Stdin = w.stdin
	}
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return backoff.Permanent(err)
	}
	ended := make(chan struct{})
	go func() { // joined by what follows
		defer close(ended)
		cmd.Wait() // its error only repeats the state
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		w.stop(ctx, cmd.Process, ended)
	}
	// What the command has started and left behind must not outlive the lock. While any of it runs,
	// no other group can have the same number.
	killGroup(cmd.Process)
	<-ended
	patience := min(w.grace, time.Second) // the lock is renewed meanwhile
	if errors.Is(context.Cause(ctx), setlock.ErrLost) {
		patience = w.term() / buryPart
	}
	for deadline := time.Now().Add(patience); groupLives(cmd.Process) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	w.status = status(cmd.ProcessState)
	return backoff.Permanent(errDone)
}

// stop asks the command to end, because ctx has ended. It returns when the command has ended or must
// be killed: after the grace, or early enough after a loss, or at a second signal.
func (w *wrapper) stop(ctx context.Context, p *os.Process, ended <-chan struct{}) {
	terminate(p)
	lost, soon := w.lost, min(w.term()/killPart, w.grace)
	limit := time.NewTimer(w.grace)
	defer limit.Stop()
	if errors.Is(context.Cause(ctx), setlock.ErrLost) {
		lost = nil
		limit.Reset(soon)
	}
	for signals := 0; ; {
		select {
		case <-ended:
			return
		case <-limit.C:
			return
		case <-lost: // after ctx had ended: the lock was renewed until now
			lost = nil
			limit.Reset(soon)
		case <-w.hurry: // the first one has probably ended ctx
			if signals++; signals == 2 {
				return
			}
		}
	}
}

// term returns the lease.
func (w *wrapper) term() time.Duration {
	if w.lease == 0 {
		return setlock.DefaultLease
	}
	return w.lease
}

// terminal reports whether r may be a terminal.
func terminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
