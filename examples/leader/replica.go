package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/examples/leader/internal/timeline"
	"example.com/setlock/setlock"
)

const (
	// httpTimeout bounds each HTTP request.
	httpTimeout = 5 * time.Second
	// tolerance is how long Redis may be silent, or the work may run after its context has ended,
	// before the replica prints a warning.
	tolerance = 500 * time.Millisecond
	// overdue is how long the work may run after its context has ended, before /healthz fails.
	overdue = 10 * time.Second
	// checkEvery is how often the replica calls Check. repeatEvery is how often it repeats the
	// warning.
	checkEvery  = 250 * time.Millisecond
	repeatEvery = 5 * time.Second
)

// Lines on standard input that a replica with -stdin obeys.
const (
	orderResign = "resign"
	orderEnd    = "end" // because the demo is over; its death only ends the input
)

var (
	errStdin    = errors.New("standard input has ended")
	errDemoOver = errors.New("the demo is over")
)

// runReplica runs one candidate until ctx ends. When Redis cannot be reached, the candidate prints
// a warning and tries again. This is no error of runReplica.
func runReplica(ctx context.Context, c config, stdin io.Reader, out *printer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	say := func(format string, args ...any) { out.line(c.id, format, args...) }
	own := &terms{id: c.id, out: out}

	var listener net.Listener
	if c.http != "" {
		var err error
		if listener, err = net.Listen("tcp", c.http); err != nil {
			return fmt.Errorf("-http: %w", err)
		}
	}
	pool, err := c.server.Pool()
	if err != nil {
		return fmt.Errorf("-redis: %w", err)
	}
	defer pool.Close()
	work := &counter{pool: pool, key: counterKey(c.key), tell: own.tell}
	e := &election.Election{
		Lock:      &setlock.Lock{Key: c.key, Pool: pool, Owner: c.id, Lease: c.lease},
		OnElected: own.of(work.work),
	}
	starts := fmt.Sprintf("starts, pid %d", os.Getpid())
	if !c.events { // the demo has put a gate before the Redis; nobody else should use its address
		starts += fmt.Sprintf(", Redis on %s", c.server)
	}
	own.tell(timeline.Event{Kind: timeline.Began, Text: starts})

	if c.stdin {
		// This goroutine is not joined, because nothing can interrupt a read of standard input.
		go func() {
			for lines := bufio.NewScanner(stdin); lines.Scan(); {
				switch lines.Text() {
				case orderResign:
					e.Resign()
				case orderEnd:
					cancel(errDemoOver)
				}
			}
			cancel(errStdin)
		}()
	}
	var helpers sync.WaitGroup
	changes := e.Changes()
	helpers.Go(func() { report(changes, say) })
	helpers.Go(func() { checkUp(ctx, e, say) })
	server := &http.Server{Handler: handler(e), ReadTimeout: httpTimeout, WriteTimeout: httpTimeout}
	var serveErr error
	if listener != nil {
		say("serves http://%s", listener.Addr())
		helpers.Go(func() {
			if err := server.Serve(listener); err != http.ErrServerClosed {
				serveErr = fmt.Errorf("-http: %w", err)
				cancel(serveErr)
			}
		})
	}

	// Run returns when ctx has ended, the work has returned, and the lock is released.
	err = e.Run(ctx)
	cause := context.Cause(ctx)
	cancel(nil)
	server.Close()
	helpers.Wait()
	if err == nil {
		err = serveErr
	}
	if err == nil {
		say("has ended: %v", cause)
		if !c.events { // the parent judges
			own.judge()
		}
	}
	return err
}

// handler answers 200 on /healthz unless the process should be killed, and elsewhere 200 only while e
// leads.
func handler(e *election.Election) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", e)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := e.Check(overdue); err != nil && !errors.Is(err, election.ErrUnavailable) {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	return mux
}

// report prints each change of the election. It returns when Run has closed changes.
func report(changes <-chan election.Change, say func(string, ...any)) {
	for c := range changes {
		switch {
		case c.Leading:
			say("leads, fence %d", c.Fence)
		case c.Leader != "":
			say("follows %s", c.Leader)
		case errors.Is(c.Err, setlock.ErrLost):
			say("has lost the leadership: %v", c.Err)
		case c.Err != nil:
			say("hands over: %v", c.Err)
		case !c.Time.IsZero():
			say("sees that nobody leads")
		}
	}
}

// A checker is an election, for checkUp.
type checker interface{ Check(time.Duration) error }

// checkUp prints a warning while Check of e returns an error, and a line when Check returns nil
// again, until ctx ends. A program that has no other way to stop its work should exit here.
func checkUp(ctx context.Context, e checker, say func(string, ...any)) {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	var said time.Time // when the last warning was printed; zero while all is well
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := e.Check(tolerance)
		if ctx.Err() != nil { // Check may return nil only because Run has returned
			return
		}
		switch {
		case err != nil && (said.IsZero() || time.Since(said) >= repeatEvery):
			say("is not well and keeps trying: %v", err)
			said = time.Now()
		case err == nil && !said.IsZero():
			say("is well again")
			said = time.Time{}
		}
	}
}
