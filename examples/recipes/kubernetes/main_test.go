package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/setlocktest"
)

// A listener accepts connections in memory, so that HTTP works in a bubble.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newListener() *listener {
	l := &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
	l.close = sync.OnceFunc(func() { close(l.closed) })
	return l
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.close(); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// get returns the status of a path, or 0 if nobody serves.
func (l *listener) get(t *testing.T, path string) int {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case l.conns <- theirs:
			return ours, nil
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}}}
	response, err := client.Get("http://test" + path)
	switch {
	case errors.Is(err, net.ErrClosed):
		return 0
	case err != nil:
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// A program is one call of run.
type program struct {
	*listener
	*election.Election
	terminate context.CancelFunc
	ended     chan error
}

func start(t *testing.T, srv *setlocktest.Server, onElected func(context.Context) error) *program {
	ctx, cancel := context.WithCancel(t.Context())
	p := &program{newListener(), &election.Election{
		Lock:      &setlock.Lock{Key: "scheduler", Pool: srv.Pool(), Lease: lease},
		OnElected: onElected,
	}, cancel, make(chan error, 1)}
	go func() { p.ended <- run(ctx, p.listener, p.Election) }() // ends with t at the latest
	synctest.Wait()
	return p
}

func (p *program) wantProbes(t *testing.T, when string, healthz, readyz int) {
	t.Helper()
	if h, r := p.get(t, "/healthz"), p.get(t, "/readyz"); h != healthz || r != readyz {
		t.Errorf("%s: /healthz %d, /readyz %d, want %d and %d", when, h, r, healthz, readyz)
	}
}

// On SIGTERM, the work ends first, then the lock is released, and then the probes end. All of this is
// over before SIGKILL comes.
func TestShutdownOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		a := start(t, srv, func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(workEnds - time.Second)
			return nil
		})
		b := start(t, srv, work)
		a.wantProbes(t, "the leader", 200, 200)
		b.wantProbes(t, "a follower", 200, 200)

		began := time.Now()
		a.terminate()
		time.Sleep(workEnds - 2*time.Second)
		a.wantProbes(t, "the work stops", 200, 200)
		if b.IsLeader() {
			t.Error("b leads while the work of a runs")
		}
		if err := <-a.ended; err != nil {
			t.Errorf("run: %v", err)
		}
		a.wantProbes(t, "the program has ended", 0, 0)
		time.Sleep(time.Second)
		if !b.IsLeader() {
			t.Error("b does not lead although a has ended")
		}
		if d, grace := time.Since(began), gracePeriod(t); d >= grace {
			t.Errorf("the end took %v, longer than the %v after which Kubernetes kills the process", d, grace)
		}
	})
}

// Only work that does not stop makes the liveness probe fail.
func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		finish, stop := context.WithCancel(context.Background())
		t.Cleanup(stop)
		a := start(t, srv, func(ctx context.Context) error {
			<-ctx.Done()
			<-finish.Done()
			return nil
		})
		b := start(t, srv, work)
		srv.CutOff(b.Lock.Pool)
		time.Sleep(2 * time.Minute)
		b.wantProbes(t, "a follower without Redis", 200, 200)

		srv.CutOff(a.Lock.Pool)
		time.Sleep(lease)
		a.wantProbes(t, "a loss a moment ago", 200, 200)
		time.Sleep(workEnds)
		a.wantProbes(t, "the work does not stop", 503, 200)
		stop()
		time.Sleep(time.Second)
		a.wantProbes(t, "the work has stopped", 200, 200)
	})
}

// A process that cannot serve its probes does not lead.
func TestNoProbesNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		a := start(t, srv, work)
		a.listener.Close()
		if err := <-a.ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("run returned %v, want the error of the listener", err)
		}
		if h, err := a.Lock.Holder(t.Context()); err != nil || !h.Nobody() {
			t.Errorf("the holder is %v, %v, want nobody", h, err)
		}
	})
}
