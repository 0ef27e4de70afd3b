package history_test

import (
	"context"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/setlock"
)

// believe records that the Lock takes itself for the holder, if it does.
func (c *client) believe() {
	o := c.begin(believe)
	o.hold, o.kept, o.outcome = c.hold, true, done
	if o.fence = c.lock.Fence(); o.fence != 0 {
		c.add(o)
	}
}

// do works under the lock.
func (c *client) do(ctx context.Context) {
	if c.mood.IntN(3) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.some(4*c.lock.Lease))
		defer cancel()
	}
	o := c.begin(acquire)
	o.hold, o.d, o.kept = c.name(), c.lock.Lease, true
	var (
		ran    bool
		end    op
		health int
	)
	err := c.lock.Do(ctx, func(ctx context.Context) error {
		ran = true
		o.outcome = done
		o.fence, _ = setlock.FenceFromContext(ctx)
		c.acquired(o)
		c.works(ctx, o.fence)
		c.work(ctx, o)
		health = c.health()
		end = c.begin(finish)
		end.hold = o.hold
		return nil
	})
	if !ran {
		o.outcome = outcomeOf(err, other)
		if o.outcome == done {
			panic("a Do of nothing")
		}
		c.acquired(o)
		return
	}
	if health >= 0 && c.health() == health {
		end.outcome = done // it can, and so it must be released
	}
	if c.hold == o.hold {
		c.hold = 0
	}
	c.add(end)
}

// work is what is done under the lock o.
func (c *client) work(ctx context.Context, o op) {
	quiet := c.mood.IntN(3) == 0 // only its context, and no call, tells it of a loss
	for c.mood.IntN(12) > 0 {
		for range c.mood.IntN(12) {
			pause(ctx, c.some(c.pace/6))
			c.believe()
			if c.virtual && ctx.Err() == nil { // a real timer may be late
				b := c.begin(believe)
				b.hold, b.fence, b.kept, b.outcome = o.hold, o.fence, true, done
				c.add(b)
			}
		}
		if ctx.Err() != nil {
			break
		}
		switch {
		case quiet:
		case c.mood.IntN(2) == 0:
			c.write(ctx, o.fence)
		default:
			c.any(ctx)
		}
	}
	if c.mood.IntN(3) == 0 { // one that does not look at its context
		time.Sleep(c.some(c.lock.Lease / 2))
		c.write(ctx, o.fence)
	}
}

// The resource takes no write whose fence is smaller than the greatest it has seen.
var (
	writeScript = redis.NewScript(1, `
local seen = tonumber(redis.call('HGET', KEYS[1], 'fence') or '0')
if tonumber(ARGV[1]) < seen then return 0 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'value', ARGV[2])
return 1`)
	readScript = redis.NewScript(1, `
return {redis.call('HGET', KEYS[1], 'fence') or '0', redis.call('HGET', KEYS[1], 'value') or '0'}`)
)

// write writes to the resource, whether or not the lock is held still.
func (c *client) write(ctx context.Context, fence int64) {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	conn, err := c.pool.GetContext(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	o := c.begin(write)
	o.fence, o.value = fence, c.fresh()
	n, err := redis.Int(writeScript.DoContext(ctx, conn, resourceKey, o.fence, o.value))
	switch {
	case err != nil:
		o.outcome = unknown
	case n == 1:
		o.outcome = done
	default:
		o.outcome = refused
	}
	c.add(o)
}

func (c *client) read(ctx context.Context) {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	conn, err := c.pool.GetContext(ctx)
	if err != nil {
		return
	}
	defer conn.Close()
	o := c.begin(read)
	reply, err := redis.Int64s(readScript.DoContext(ctx, conn, resourceKey))
	if err != nil {
		return
	}
	o.fence, o.value, o.outcome = reply[0], int(reply[1]), done
	c.add(o)
}
