package history_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

const (
	lockKey     = "k"
	resourceKey = "resource"
)

// A client calls a Lock, one call at a time, and records what it is told.
type client struct {
	*history
	id      int
	lock    *setlock.Lock
	pool    *redis.Pool // for the resource
	mood    *rand.Rand
	pace    time.Duration // between two calls, about
	virtual bool

	hold    int   // what it holds, as far as it knows
	fence   int64 // the last that it knows
	unknown int   // acquisitions in a row whose outcome it does not know

	mu     sync.Mutex
	faults int // how often something began or ceased to be wrong with the network
	faulty bool
}

func newClient(t testing.TB, h *history, id int, seed uint64, dial redistest.Dialer, lease time.Duration) *client {
	return &client{
		history: h,
		id:      id,
		lock: &setlock.Lock{
			Key:   lockKey,
			Pool:  redistest.Pool(t, dial),
			Owner: fmt.Sprintf("c%d", id),
			Lease: lease,
		},
		pool: redistest.Pool(t, dial),
		mood: rand.New(rand.NewPCG(seed, uint64(id))),
		pace: lease / 6,
	}
}

// fault notes that something is wrong with the network, or nothing any more.
func (c *client) fault(wrong bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faulty = wrong
	c.faults++
}

// health returns a number that stays what it is while the network works, -1 if it does not.
func (c *client) health() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.faulty {
		return -1
	}
	return c.faults
}

func (c *client) begin(a action) op { return op{action: a, client: c.id, call: c.now()} }

// outcomeOf is what a call tells by err; not is what ErrNotHeld means there.
func outcomeOf(err error, not outcome) outcome {
	switch err {
	case nil:
		return done
	case setlock.ErrAlreadyHeld:
		return mine
	case setlock.ErrNotHeld:
		return not
	}
	return unknown
}

// some returns a random duration of about d.
func (c *client) some(d time.Duration) time.Duration {
	return time.Duration(c.mood.ExpFloat64()*float64(d)) + 1
}

// patience returns a context for one call.
func (c *client) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.mood.IntN(4) == 0 {
		return context.WithTimeout(context.WithoutCancel(ctx), 20*c.lock.Lease)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), c.lock.Lease/20+c.some(c.lock.Lease/3))
}

// run makes random calls until ctx ends.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, c.some(c.pace))
		c.believe()
		if c.unknown >= 20 { // more than that, a Lock does not remember
			pause(ctx, 5*c.lock.Lease)
			c.unknown = 0
		}
		if c.hold == 0 && c.mood.IntN(2) == 0 {
			c.acquireOrDo(ctx)
			continue
		}
		c.any(ctx)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (c *client) acquireOrDo(ctx context.Context) {
	if c.mood.IntN(2) == 0 {
		c.do(ctx)
	} else {
		c.acquire(ctx)
	}
}

// any makes one call of any kind but Do.
func (c *client) any(ctx context.Context) {
	if c.hold != 0 && c.mood.IntN(4) == 0 {
		c.setTime(ctx, extend)
		return
	}
	switch c.mood.IntN(10) {
	case 0:
		c.acquire(ctx)
	case 1, 2:
		if c.setTime(ctx, renew) == unknown {
			c.setTime(ctx, renew) // which may overtake the other
		}
	case 3:
		c.setTime(ctx, extend)
	case 4:
		c.release(ctx)
	case 5:
		c.look(ctx)
	case 6, 7:
		c.write(ctx, c.fence)
	case 8:
		c.read(ctx)
	case 9: // while the clock of the server stands still
		c.acquire(ctx)
		c.release(ctx)
		c.acquire(ctx)
	}
}

// time returns for how long to acquire, renew or extend: whole milliseconds.
func (c *client) time() time.Duration {
	return (c.lock.Lease/10 + time.Duration(c.mood.Int64N(int64(2*c.lock.Lease)))).Round(time.Millisecond)
}

func (c *client) acquire(ctx context.Context) {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	o := c.begin(acquire)
	o.hold, o.d = c.name(), c.time()
	left, err := c.lock.Lock(ctx, o.d)
	o.outcome, o.left = outcomeOf(err, other), left
	if o.outcome == done {
		o.fence = c.lock.Fence() // 0 if it is over already
	}
	c.acquired(o)
}

// acquired notes how an acquisition has ended.
func (c *client) acquired(o op) {
	switch o.outcome {
	case done:
		c.hold, c.unknown = o.hold, 0
		if o.fence != 0 {
			c.fence = o.fence
		}
	case mine:
		o.hold = c.hold
	case other:
		c.hold, c.unknown = 0, 0
	case unknown:
		c.unknown++
	}
	c.add(o)
}

func (c *client) setTime(ctx context.Context, a action) outcome {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	o := c.begin(a)
	o.hold, o.d = c.hold, c.time()
	var err error
	if a == renew {
		err = c.lock.Renew(ctx, o.d)
	} else {
		err = c.lock.Extend(ctx, o.d)
	}
	o.outcome = outcomeOf(err, notHeld)
	if o.outcome == notHeld {
		c.hold = 0
	}
	c.add(o)
	return o.outcome
}

func (c *client) release(ctx context.Context) {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	o := c.begin(release)
	o.hold = c.hold
	o.outcome = outcomeOf(c.lock.Unlock(ctx), notHeld)
	switch {
	case o.outcome != unknown:
		c.hold = 0
	case c.lock.Fence() != 0:
		return // that says that it has not run and never will
	}
	c.add(o)
}

func (c *client) look(ctx context.Context) {
	ctx, cancel := c.patience(ctx)
	defer cancel()
	o := c.begin(look)
	h, err := c.lock.Holder(ctx)
	if err != nil {
		return // that tells nothing
	}
	o.outcome, o.fence, o.left = done, h.Fence, h.Remaining
	o.owner, _ = strconv.Atoi(strings.TrimPrefix(h.Owner, "c"))
	if h.Nobody() {
		o.outcome = nobody
	}
	c.add(o)
}
