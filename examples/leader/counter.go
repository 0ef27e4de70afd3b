package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/setlock"
)

//go:embed counter.lua
var counterSource string

var counterScript = redis.NewScript(1, counterSource)

// countRefused is the count that counter.lua returns to a stale fence.
const countRefused = 0

// countEvery is the pace of the leader's work.
const countEvery = time.Second

// errStale is the error of a step whose fence a later leader has outrun.
var errStale = errors.New("stale fence")

// A counter is what the leader works on. It stands for anything that must not be
// written by one who has been replaced, and it does what such a thing has to do:
// it remembers the highest fence that it has seen, and refuses a lower one in
// the same step in which it would be written.
//
// The lock alone is not enough. A process can be stopped after its last look at
// its context and before its write reaches Redis; when it goes on, another leads.
type counter struct {
	pool *redis.Pool
	key  string
	say  func(format string, args ...any)
}

// counterKey returns the key of the counter of the lock with the given key. Both
// are in one Cluster slot: what stands in braces decides it, else the whole key.
func counterKey(key string) string {
	if _, after, ok := strings.Cut(key, "{"); ok && strings.IndexByte(after, '}') > 0 {
		return key + ":counter"
	}
	return "{" + key + "}:counter"
}

// work counts until ctx ends. It is the OnElected of the election: when it
// returns, the leadership is given up. It does so with errStale in its error if
// another has led since; a step that fails for another reason is tried again,
// for ctx ends should Redis stay away.
func (c *counter) work(ctx context.Context) error {
	fence, ok := setlock.FenceFromContext(ctx)
	if !ok {
		return errors.New("counter: no fencing token in the context")
	}
	ticker := time.NewTicker(countEvery)
	defer ticker.Stop()
	for {
		count, err := c.step(ctx, fence)
		switch {
		case err == nil:
			c.say("counts %d", count)
		case errors.Is(err, errStale):
			return err
		case ctx.Err() == nil:
			c.say("cannot count: %v", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// step adds one to the counter and returns what it counts now. After an error
// that is not errStale, the step may or may not have been counted.
func (c *counter) step(ctx context.Context, fence int64) (int64, error) {
	conn, err := c.pool.GetContext(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	reply, err := redis.Int64s(counterScript.DoContext(ctx, conn, c.key, fence))
	if err != nil {
		return 0, err
	}
	if len(reply) != 2 {
		return 0, fmt.Errorf("unexpected reply %v", reply)
	}
	if reply[0] == countRefused {
		return 0, fmt.Errorf("%w: %d, but %d has been here", errStale, fence, reply[1])
	}
	return reply[0], nil
}
