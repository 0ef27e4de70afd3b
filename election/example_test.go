package election_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

// A scheduler that runs on one of several machines at a time.
func Example() {
	pool := &redis.Pool{
		MaxIdle: 4,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return redis.DialContext(ctx, "tcp", "localhost:6379",
				redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(time.Second), redis.DialWriteTimeout(time.Second))
		},
	}
	defer pool.Close()

	e := &election.Election{
		Lock: &setlock.Lock{Key: "scheduler", Pool: pool},
		OnElected: func(ctx context.Context) error {
			fence, _ := setlock.FenceFromContext(ctx)
			log.Println("leading, with the fencing token", fence)
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done(): // stop now: another may lead soon
					return nil
				case <-tick.C:
					log.Println("working")
				}
			}
		},
	}
	go func() {
		for c := range e.Changes() {
			log.Printf("leader %q, us: %v", c.Leader, c.Leading)
		}
	}()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := e.Run(ctx) // until ctx ends; hands over before it returns
	if err != nil {
		log.Fatal(err)
	}
}

// newPool returns a pool on an embedded Redis, for the examples that run.
func newPool() (pool *redis.Pool, stop func()) {
	server := miniredis.NewMiniRedis()
	pool = &redis.Pool{
		MaxIdle: 4,
		Dial: func() (redis.Conn, error) {
			conn, err := server.Dial()
			if err != nil {
				return nil, err
			}
			return redis.NewConn(conn, time.Second, time.Second), nil
		},
	}
	return pool, func() {
		pool.Close()
		server.Close()
	}
}

func ExampleElection_Run() {
	pool, stop := newPool()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e := &election.Election{
		Lock: &setlock.Lock{Key: "k", Pool: pool},
		OnElected: func(ctx context.Context) error {
			fmt.Println("leading")
			cancel() // as a signal would
			<-ctx.Done()
			fmt.Println("stopped:", context.Cause(ctx))
			return nil
		},
	}
	fmt.Println("Run:", e.Run(ctx))
	// Output:
	// leading
	// stopped: context canceled
	// Run: <nil>
}

func ExampleElection_Changes() {
	pool, stop := newPool()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e := &election.Election{Lock: &setlock.Lock{Key: "k", Pool: pool, Owner: "host-7"}}
	changes := e.Changes()
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	for c := range changes { // until Run returns
		fmt.Printf("leader %q, us: %v, because: %v\n", c.Leader, c.Leading, c.Err)
		if c.Leading {
			cancel()
		}
	}
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	// Output:
	// leader "", us: false, because: <nil>
	// leader "host-7", us: true, because: <nil>
	// leader "", us: false, because: context canceled
}

func ExampleElection_Resign() {
	pool, stop := newPool()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e := &election.Election{Lock: &setlock.Lock{Key: "k", Pool: pool}}
	terms := 0
	e.OnElected = func(ctx context.Context) error {
		if terms++; terms == 2 {
			cancel()
			return nil
		}
		e.Resign()
		<-ctx.Done()
		fmt.Println(errors.Is(context.Cause(ctx), election.ErrResigned))
		return nil
	}
	if err := e.Run(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("terms:", terms) // nobody else wanted it
	// Output:
	// true
	// terms: 2
}

func ExampleElection_IsLeader() {
	pool, stop := newPool()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e := &election.Election{Lock: &setlock.Lock{Key: "k", Pool: pool, Owner: "host-7"}}
	e.OnElected = func(context.Context) error {
		fmt.Println(e.IsLeader(), e.Leader().Owner)
		cancel()
		return nil
	}
	if err := e.Run(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(e.IsLeader())
	// Output:
	// true host-7
	// false
}

func ExampleElection_Leader() {
	pool, stop := newPool()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	other := &setlock.Lock{Key: "k", Pool: pool, Owner: "host-8"}
	if _, err := other.Lock(ctx, time.Minute); err != nil {
		log.Fatal(err)
	}
	e := &election.Election{Lock: &setlock.Lock{Key: "k", Pool: pool, Owner: "host-7"}}
	changes := e.Changes()
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	for c := range changes {
		if c.Leader != "" {
			fmt.Println(e.Leader().Owner)
			cancel()
		}
	}
	if err := <-done; err != nil {
		log.Fatal(err)
	}
	// Output: host-8
}

func ExampleElection_Check() {
	e := &election.Election{Lock: &setlock.Lock{Key: "k"}}
	// A liveness probe. It kills the process when OnElected does not stop, or when Run has returned
	// an error. It does not fail because Redis is away, and not because another candidate leads.
	http.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) {
		err := e.Check(30 * time.Second)
		if err != nil && !errors.Is(err, election.ErrUnavailable) {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	fmt.Println(e.Check(30 * time.Second))
	// Output: <nil>
}

func ExampleElection_ServeHTTP() {
	e := &election.Election{Lock: &setlock.Lock{Key: "k", Owner: "host-7"}}
	server := httptest.NewServer(e) // or http.Handle("/leader", e)
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 503 Service Unavailable
}
