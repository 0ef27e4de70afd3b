package locktest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/setlock"
)

// A Crowd is many sessions that run at the same time, one of each of its Locks. The function
// of each session works until its context ends.
type Crowd struct {
	t       testing.TB
	ctx     context.Context
	cancel  context.CancelFunc
	working sync.WaitGroup // sessions whose function has not been called yet
	running sync.WaitGroup // sessions that have not ended

	mu   sync.Mutex
	lost map[string]Loss // by key
}

// A Loss is how a session has lost its lock.
type Loss struct {
	At  time.Time // when the context of the function ended
	Err error     // the result of Do
}

// NewCrowd starts a session of each of locks, and returns when all functions run. It fails t if a
// session does not begin, or has another error than a loss. The sessions end with t.
func NewCrowd(t testing.TB, locks ...*setlock.Lock) *Crowd {
	t.Helper()
	return NewCrowdUnder(t.Context(), t, locks...)
}

// NewCrowdUnder is NewCrowd with sessions under the values of ctx.
func NewCrowdUnder(ctx context.Context, t testing.TB, locks ...*setlock.Lock) *Crowd {
	t.Helper()
	c := &Crowd{t: t, lost: make(map[string]Loss)}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	t.Cleanup(c.Stop)
	for _, l := range locks {
		c.Add(l)
	}
	c.working.Wait()
	return c
}

// Add starts one more session.
func (c *Crowd) Add(l *setlock.Lock) {
	c.working.Add(1)
	c.running.Go(func() {
		begun := sync.OnceFunc(c.working.Done)
		defer begun()
		var ended time.Time
		err := l.Do(c.ctx, func(ctx context.Context) error {
			begun()
			<-ctx.Done()
			ended = time.Now()
			return nil
		})
		switch {
		case errors.Is(err, setlock.ErrLost):
			c.mu.Lock()
			defer c.mu.Unlock()
			c.lost[l.Key] = Loss{ended, err}
		case err != nil:
			c.t.Errorf("the session of %s: %v", l.Key, err)
		}
	})
}

// Stop ends all sessions, and returns when they have ended.
func (c *Crowd) Stop() {
	c.cancel()
	c.running.Wait()
}

// Lost returns the losses, by key.
func (c *Crowd) Lost() map[string]Loss {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.lost)
}

// MustLose fails t unless the sessions of these keys are lost, and no others.
func (c *Crowd) MustLose(when string, keys ...string) {
	c.t.Helper()
	lost := c.Lost()
	got := slices.Sorted(maps.Keys(lost))
	slices.Sort(keys)
	if slices.Equal(got, keys) {
		return
	}
	c.t.Errorf("%s: %d sessions are lost, %.200q, want %.200q", when, len(got), got, keys)
	for _, key := range got {
		if !slices.Contains(keys, key) {
			c.t.Errorf("such as %s: %v", key, lost[key].Err)
			return
		}
	}
}

// Locks returns n Locks on one Pool, with the keys prefix0, prefix1 and so on.
func Locks(pool *redis.Pool, prefix string, n int, lease time.Duration) []*setlock.Lock {
	locks := make([]*setlock.Lock, n)
	for i := range locks {
		locks[i] = &setlock.Lock{Key: prefix + strconv.Itoa(i), Pool: pool, Lease: lease}
	}
	return locks
}
