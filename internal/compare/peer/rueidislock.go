package peer

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/redis/rueidis"
	"github.com/redis/rueidis/rueidislock"

	"example.com/setlock/internal/compare/report"
)

// rueidisLock is rueidislock on one Redis. The tuned one is what a careful user might
// set so that a loss is found earlier.
func rueidisLock(name string, tuned bool) Peer {
	p := Peer{
		Name:    name,
		Version: "github.com/redis/rueidis",
		Waits:   "an invalidation of client-side caching, when the key is deleted or Redis removes the expired key",
		Tells:   toldByPeer,
	}
	if tuned {
		p.In = []string{report.Loss, report.Stopped}
	}
	p.Open = func(o Options) (Client, error) {
		options := rueidislock.LockerOption{
			KeyValidity:    o.Lease,
			KeyMajority:    1,
			NoLoopTracking: true,
			ClientOption: rueidis.ClientOption{
				InitAddress: []string{o.Redis},
				DialCtxFn: func(ctx context.Context, addr string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
					return o.Network.Dial(ctx, "tcp", addr)
				},
			},
		}
		if tuned {
			options.ExtendInterval = o.Lease / 3
			options.ClientOption.ConnWriteTimeout = 500 * time.Millisecond
			options.ClientOption.Dialer.Timeout = 500 * time.Millisecond
		}
		l, err := rueidislock.NewLocker(options)
		if err != nil {
			return nil, err
		}
		return &rueidisClient{o: o, locker: l}, nil
	}
	return p
}

type rueidisClient struct {
	o      Options
	locker rueidislock.Locker
}

func (c *rueidisClient) Acquire(ctx context.Context, key string) (*Hold, error) {
	// The context of a hold descends from the one that was passed in.
	held, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, end)
	held, release, err := c.locker.WithContext(held, key)
	stop()
	if err != nil {
		end()
		return nil, err
	}
	return onRedis(c.o.Redis, "rueidislock:0:"+key, &Hold{
		Lost: held.Done(),
		Release: func() error {
			release() // returns after the DEL
			end()
			return nil
		},
	}), nil
}

func (c *rueidisClient) Close() { c.locker.Close() }
