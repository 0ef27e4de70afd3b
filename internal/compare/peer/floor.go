package peer

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/compare/report"
)

// The scripts of the floor. A waiter tries when a message comes or the key has expired.
var (
	floorAcquire = redis.NewScript(1, `
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return -3 end
return redis.call('PTTL', KEYS[1])`)
	floorRelease = redis.NewScript(1, `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', KEYS[1], '')
return 1`)
	floorRenew = redis.NewScript(1, `
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)
)

// acquired is the reply of floorAcquire to the new holder.
const acquired = -3

// errHeld reports that another client holds the lock.
var errHeld = errors.New("another client holds the lock")

// floor is the least that a lock on Redis must do: three bare scripts and a
// subscription, on redigo.
func floor() Peer {
	return Peer{
		Name:  "floor",
		Waits: "a message of the release, or a timer for the expiry of the key",
		Tells: toldByLoop,
		Floor: true,
		In:    []string{report.HandOver, report.Crash, report.Many, report.Stopped},
		Open: func(o Options) (Client, error) {
			return &floorClient{o: o, pool: redigoPool(o, 500*time.Millisecond)}, nil
		},
	}
}

type floorClient struct {
	o    Options
	pool *redis.Pool
}

func (c *floorClient) run(ctx context.Context, s *redis.Script, args ...any) (int64, error) {
	conn, err := c.pool.GetContext(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return redis.Int64(s.DoContext(ctx, conn, args...))
}

// try returns the hold, or the remaining time of the present holder and errHeld.
func (c *floorClient) try(ctx context.Context, key string) (*Hold, time.Duration, error) {
	value, lease := rand.Text(), c.o.Lease.Milliseconds()
	left, err := c.run(ctx, floorAcquire, key, value, lease)
	if err != nil {
		return nil, 0, err
	}
	if left != acquired {
		return nil, time.Duration(left) * time.Millisecond, errHeld
	}
	l := startLoop(c.o.Lease, func(ctx context.Context) bool {
		n, err := c.run(ctx, floorRenew, key, value, lease)
		return err == nil && n == 1
	})
	return l.hold(c.o.Redis, key, func() error {
		_, err := c.run(context.Background(), floorRelease, key, value)
		return err
	}), 0, nil
}

func (c *floorClient) Acquire(ctx context.Context, key string) (*Hold, error) {
	h, _, err := c.try(ctx, key)
	if err != errHeld {
		return h, err
	}
	conn, err := redis.DialContext(ctx, "tcp", c.o.Redis, redis.DialContextFunc(c.o.Network.Dial))
	if err != nil {
		return nil, err
	}
	var reader sync.WaitGroup
	defer reader.Wait()
	defer conn.Close()
	sub := redis.PubSubConn{Conn: conn}
	if err := sub.Subscribe(key); err != nil {
		return nil, err
	}
	// The confirmation of the subscription is a message too: the waiter tries after it.
	messages := make(chan struct{}, 1)
	reader.Go(func() {
		for {
			if _, failed := sub.Receive().(error); failed {
				return
			}
			select {
			case messages <- struct{}{}:
			default:
			}
		}
	})
	timer := time.NewTimer(c.o.Lease)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-messages:
		case <-timer.C:
		}
		h, left, err := c.try(ctx, key)
		if err != errHeld {
			return h, err
		}
		timer.Reset(left + time.Millisecond)
	}
}

// Close cuts the network and leaves the pool open, because redigo 1.9.3 panics when a
// pool with Wait is closed while another goroutine waits in it.
func (c *floorClient) Close() { c.o.Network.Cut() }
