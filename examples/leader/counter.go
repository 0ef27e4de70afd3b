package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/examples/leader/internal/timeline"
	"example.com/setlock/setlock"
)

//go:embed counter.lua
var counterSource string

var counterScript = redis.NewScript(1, counterSource)

// countRefused is the count that counter.lua returns when it refuses a stale fence.
const countRefused = 0

// countEvery is the time between two steps of the leader's work.
const countEvery = time.Second

// errStale is the error of a step that was refused because a later leader has counted.
var errStale = errors.New("stale fence")

// A counter is the data that the leader works on. It is an example of data that an old leader must
// not write. Such data must do what the counter does: it remembers the highest fence that it has
// seen, and refuses a lower fence, in the same atomic step that writes.
//
// The lock alone is not enough. A process can be stopped after its last check of its context and
// before its write reaches Redis. When the process continues, another process may lead.
type counter struct {
	pool *redis.Pool
	key  string
	tell func(timeline.Event) timeline.Event // tells of the steps
}

// counterKey returns the key of the counter that belongs to the lock with the given key. Both keys
// are in the same Cluster slot. The text in braces decides the slot; without braces, the whole key
// does.
func counterKey(key string) string {
	if _, after, ok := strings.Cut(key, "{"); ok && strings.IndexByte(after, '}') > 0 {
		return key + ":counter"
	}
	return "{" + key + "}:counter"
}

// work counts until ctx ends. It is the OnElected of the election, so the leadership ends when work
// returns. If a later leader has counted, work returns an error that wraps errStale. After any
// other error, work tries the step again. If Redis stays away, ctx ends.
func (c *counter) work(ctx context.Context) error {
	fence, ok := setlock.FenceFromContext(ctx)
	if !ok {
		return errors.New("counter: no fencing token in the context")
	}
	ticker := time.NewTicker(countEvery)
	defer ticker.Stop()
	for {
		sent := time.Now()
		count, err := c.step(ctx, fence)
		switch {
		case err == nil:
			c.tell(timeline.Event{Time: sent, Kind: timeline.Counts, Fence: fence, Count: count, Text: fmt.Sprintf("counts %d", count)})
		case errors.Is(err, errStale):
			c.tell(timeline.Event{Time: sent, Kind: timeline.Refused, Fence: fence, Text: "must not count: " + err.Error()})
			return err
		case ctx.Err() == nil:
			c.tell(timeline.Event{Kind: timeline.Note, Text: fmt.Sprintf("cannot count: %v", err)})
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// step adds one to the counter and returns the new count. After an error that is not errStale,
// nobody knows whether the step was counted.
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
		return 0, fmt.Errorf("%w %d: a leader with fence %d has counted", errStale, fence, reply[1])
	}
	return reply[0], nil
}
