// Kubernetes is a recipe: a program that hands over before Kubernetes kills it. The file
// deployment.yml beside it has the times of the program.
//
// On SIGTERM, the work stops, the lock is released, and another process leads at once. /healthz and
// /readyz answer until then.
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/redispool"
)

const (
	lease    = setlock.DefaultLease
	workEnds = 10 * time.Second // the work returns this long after its context has ended
	httpEnds = 5 * time.Second  // requests are cut off this long after the election has ended
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills the process
	config, err := redispool.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		log.Fatal(err)
	}
	pool, err := config.Pool()
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", os.Getenv("LISTEN"))
	if err != nil {
		log.Fatal(err)
	}
	if err := run(ctx, listener, &election.Election{
		Lock:      &setlock.Lock{Key: "scheduler", Pool: pool, Owner: os.Getenv("OWNER"), Lease: lease},
		OnElected: work,
	}); err != nil {
		log.Fatal(err) // so that Kubernetes restarts the container
	}
}

// run runs e until ctx ends, and serves the probes until e has handed over.
func run(ctx context.Context, listener net.Listener, e *election.Election) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		// A process that is overdue must die soon. Redis that is away is no reason to die.
		if err := e.Check(workEnds); err != nil && !errors.Is(err, election.ErrUnavailable) {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {}) // a follower is ready, too
	server := &http.Server{Handler: mux, ReadHeaderTimeout: httpEnds}
	served := make(chan error, 1)
	go func() { // joined below
		served <- server.Serve(listener)
		cancel(nil) // a process without probes must not lead
	}()
	err := e.Run(ctx) // returns when the work has returned and the lock is released
	ending, cut := context.WithTimeout(context.Background(), httpEnds)
	defer cut()
	if server.Shutdown(ending) != nil {
		server.Close()
	}
	if serveErr := <-served; serveErr != http.ErrServerClosed {
		err = errors.Join(err, serveErr)
	}
	return err
}

// work stands for the work of the leader.
func work(ctx context.Context) error {
	log.Print("leads")
	<-ctx.Done()
	log.Print("stops: ", context.Cause(ctx))
	return nil
}
