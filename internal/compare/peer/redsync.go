package peer

import (
	"context"
	"math"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/redigo"

	"example.com/setlock/internal/compare/report"
)

// redsyncMutex is redsync on one Redis. By default it uses the library's retry delay
// and redigo's pool, which has no timeouts. The tuned one retries every 10 ms and has
// timeouts of 500 ms. Both never cease to try.
func redsyncMutex(name string, tuned bool) Peer {
	p := Peer{
		Name:    name,
		Version: "github.com/go-redsync/redsync/v4",
		Waits:   "tries after a random 50 to 250 ms",
		Tells:   toldByLoop,
		Poll:    250 * time.Millisecond,
	}
	options := []redsync.Option{redsync.WithTries(math.MaxInt32)}
	var timeout time.Duration
	if tuned {
		p.In = []string{report.HandOver, report.Crash, report.Loss, report.Stopped}
		p.Poll, p.Waits = 10*time.Millisecond, "tries every 10 ms"
		options = append(options, redsync.WithRetryDelay(p.Poll))
		timeout = 500 * time.Millisecond
	}
	p.Open = func(o Options) (Client, error) {
		pool := redigo.NewPool(redigoPool(o, timeout))
		return &redsyncClient{
			o:       o,
			redsync: redsync.New(pool),
			options: append(options[:len(options):len(options)], redsync.WithExpiry(o.Lease)),
		}, nil
	}
	return p
}

type redsyncClient struct {
	o       Options
	redsync *redsync.Redsync
	options []redsync.Option
}

func (c *redsyncClient) Acquire(ctx context.Context, key string) (*Hold, error) {
	m := c.redsync.NewMutex(key, c.options...)
	if err := m.LockContext(ctx); err != nil {
		return nil, err
	}
	l := startLoop(c.o.Lease, func(ctx context.Context) bool {
		ok, err := m.ExtendContext(ctx)
		return ok && err == nil
	})
	return l.hold(c.o.Redis, key, func() error {
		_, err := m.Unlock()
		return err
	}), nil
}

// Close cuts the network, because the pool cannot be closed while it is used.
func (c *redsyncClient) Close() { c.o.Network.Cut() }
