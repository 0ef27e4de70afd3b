package peer

import (
	"context"
	"time"

	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"

	"example.com/setlock/internal/compare/report"
)

// bsmLock is bsm/redislock. By default it tries every 100 ms, as its README does, on a
// go-redis client with default options. The tuned one tries every 10 ms, and go-redis
// obeys the deadlines of contexts.
func bsmLock(name string, tuned bool) Peer {
	p := Peer{
		Name:    name,
		Version: "github.com/bsm/redislock",
		Waits:   "tries every 100 ms",
		Tells:   toldByLoop,
		Poll:    100 * time.Millisecond,
	}
	if tuned {
		p.In = []string{report.HandOver, report.Crash, report.Loss, report.Stopped}
		p.Poll, p.Waits = 10*time.Millisecond, "tries every 10 ms"
	}
	redis.SetLogger(silence{})
	p.Open = func(o Options) (Client, error) {
		client := redis.NewClient(&redis.Options{
			Addr:                  o.Redis,
			Dialer:                o.Network.Dial,
			ContextTimeoutEnabled: tuned,
		})
		return &bsmClient{o: o, redis: client, locker: redislock.New(client), poll: p.Poll}, nil
	}
	return p
}

// silence is a logger of go-redis, which reports each failed dial.
type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

type bsmClient struct {
	o      Options
	redis  *redis.Client
	locker *redislock.Client
	poll   time.Duration
}

func (c *bsmClient) Acquire(ctx context.Context, key string) (*Hold, error) {
	if _, ok := ctx.Deadline(); !ok { // without a deadline, Obtain gives up after the lease
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, time.Hour)
		defer end()
	}
	m, err := c.locker.Obtain(ctx, key, c.o.Lease, &redislock.Options{RetryStrategy: redislock.LinearBackoff(c.poll)})
	if err != nil {
		return nil, err
	}
	l := startLoop(c.o.Lease, func(ctx context.Context) bool { return m.Refresh(ctx, c.o.Lease, nil) == nil })
	return l.hold(c.o.Redis, key, func() error { return m.Release(context.Background()) }), nil
}

func (c *bsmClient) Close() { c.redis.Close() }
