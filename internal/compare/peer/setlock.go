package peer

import (
	"context"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
)

const setlockWaits = "an announcement of the release, or a timer for the expiry of the key"

// setlockDo is Lock.Do of this project.
func setlockDo() Peer {
	return Peer{Name: "setlock", Waits: setlockWaits, Tells: toldByPeer, Ours: true, Open: openSetlock(acquireDo)}
}

// setlockElection is an Election of this project.
func setlockElection() Peer {
	return Peer{Name: "setlock/election", Waits: setlockWaits, Tells: toldByPeer, Ours: true, Open: openSetlock(acquireElection)}
}

// acquisition acquires l in a goroutine that ends when the returned hold is released.
type acquisition func(ctx context.Context, l *setlock.Lock) (*Hold, error)

type setlockClient struct {
	o       Options
	pool    *redis.Pool
	acquire acquisition
}

func openSetlock(a acquisition) func(Options) (Client, error) {
	return func(o Options) (Client, error) {
		return &setlockClient{o: o, pool: redigoPool(o, 500*time.Millisecond), acquire: a}, nil
	}
}

func (c *setlockClient) Acquire(ctx context.Context, key string) (*Hold, error) {
	h, err := c.acquire(ctx, &setlock.Lock{Key: key, Pool: c.pool, Lease: c.o.Lease})
	if err != nil {
		return nil, err
	}
	return onRedis(c.o.Redis, key, h), nil
}

// Close cuts the network, because the pool cannot be closed while it is used.
func (c *setlockClient) Close() { c.o.Network.Cut() }

// acquireDo tries Do, and waits by Wait while another client holds the lock.
func acquireDo(ctx context.Context, l *setlock.Lock) (*Hold, error) {
	for {
		h, err := tryDo(ctx, l)
		if err != setlock.ErrNotHeld {
			return h, err
		}
		if err := l.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

func tryDo(ctx context.Context, l *setlock.Lock) (*Hold, error) {
	wait, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	begun, release, done := make(chan (<-chan struct{}), 1), make(chan struct{}), make(chan error, 1)
	go func() { // joined by Release, or below
		defer end()
		done <- l.Do(wait, func(held context.Context) error {
			stop()
			begun <- held.Done()
			<-release
			return nil
		})
	}()
	select {
	case lost := <-begun:
		return &Hold{Lost: lost, Release: sync.OnceValue(func() error {
			close(release)
			return <-done
		})}, nil
	case err := <-done:
		return nil, err
	}
}

func acquireElection(ctx context.Context, l *setlock.Lock) (*Hold, error) {
	run, resign := context.WithCancel(context.WithoutCancel(ctx))
	begun, done := make(chan (<-chan struct{}), 1), make(chan error, 1)
	e := &election.Election{
		Lock: l,
		OnElected: func(held context.Context) error {
			select {
			case begun <- held.Done():
			default: // a later term, after a loss: only the first counts
			}
			<-run.Done()
			return nil
		},
	}
	go func() { done <- e.Run(run) }() // joined by Release, or below
	select {
	case lost := <-begun:
		return &Hold{Lost: lost, Release: sync.OnceValue(func() error {
			resign()
			return <-done
		})}, nil
	case <-ctx.Done():
		resign()
		<-done
		return nil, context.Cause(ctx)
	case err := <-done:
		resign()
		return nil, err
	}
}
