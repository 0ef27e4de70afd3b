package election_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"example.com/setlock/setlock"
)

// A companion is a further session of a process, besides its candidate and on the same Pool, with a
// key and a Lease of its own. It holds its lock for a while, and then again.
type companion struct {
	p     *peer
	name  string
	lock  *setlock.Lock
	lease time.Duration
	mood  *rand.Rand

	// Guarded by simulation.mu:
	ctx     context.Context // of its work, nil when it does not work
	fence   int64           // of its last hold
	working bool
}

// A companionLock is what the judge knows of a lock that companions hold. It is guarded by
// simulation.mu.
type companionLock struct {
	fence  int64                     // the last that was given
	holds  string                    // what the key has as far as scripts have written it; "" for unknown
	grants map[int64]*companionGrant // by fence
}

// A companionGrant is an acquisition by a companion, as the server has made it.
type companionGrant struct {
	value string
	at    time.Time
}

// accompany decides how many companions each process has. It takes no luck from the driver,
// so that a seed has the same troubles with and without.
func (s *simulation) accompany() {
	mood := rand.New(rand.NewPCG(s.seed, 1<<33))
	if mood.IntN(4) == 0 {
		s.companions = 1 + mood.IntN(3)
	}
	if *simCompanions != 0 {
		s.companions = max(*simCompanions, 0)
	}
	s.locks = make(map[string]*companionLock)
}

// bringCompanions gives p its companions. Every second one has a key for which those of
// other processes compete.
func (s *simulation) bringCompanions(p *peer, slot int) {
	for i := range s.companions {
		key := fmt.Sprintf("own%d.%d", slot, i)
		if i%2 == 1 {
			key = fmt.Sprintf("common%d", i)
		}
		c := &companion{p: p, name: fmt.Sprintf("%s+%d", p.name, i), mood: rand.New(rand.NewPCG(p.mood.Uint64(), 0))}
		c.lease = []time.Duration{s.lease / 4, s.lease / 2, s.lease, 2 * s.lease}[c.mood.IntN(4)]
		c.lock = &setlock.Lock{Key: key, Pool: p.e.Lock.Pool, Owner: c.name, Lease: c.lease}
		if c.mood.IntN(2) == 0 {
			c.lock.Replicas = s.replicas
		}
		p.companions = append(p.companions, c)
		if s.locks[key] == nil {
			s.set(func() { s.locks[key] = &companionLock{grants: make(map[int64]*companionGrant)} })
		}
	}
}

// live holds the lock again and again until ctx ends.
func (c *companion) live(ctx context.Context) {
	for ctx.Err() == nil {
		switch err := c.lock.Do(ctx, c.work); {
		case err == setlock.ErrNotHeld:
			c.wait(ctx)
		case errors.Is(err, setlock.ErrAlreadyHeld) || errors.Is(err, setlock.ErrInvalid):
			c.p.s.errorf("%s: Do: %v", c.name, err)
			return
		default:
			sleep(ctx, c.lease/10)
		}
	}
}

// wait blocks until nobody holds the lock, as its watch shows, or until ctx ends.
func (c *companion) wait(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for h := range c.lock.Watch(ctx) {
		if h.Nobody() {
			stop()
		}
	}
}

// work holds the lock for a while, and after the troubles until its context ends.
func (c *companion) work(ctx context.Context) error {
	s := c.p.s
	fence, _ := setlock.FenceFromContext(ctx)
	s.companionBegins(ctx, c, fence)
	defer s.set(func() { c.ctx, c.working = nil, false })
	select {
	case <-ctx.Done():
	case <-s.calm:
		<-ctx.Done()
	case <-time.After(time.Duration(c.mood.ExpFloat64() * 2 * float64(s.lease))):
		select {
		case <-s.calm:
			<-ctx.Done()
		default:
			return nil
		}
	}
	s.companionEnds(ctx, c)
	if c.mood.IntN(4) == 0 { // ignores its context for a while, in which its process does not end
		select {
		case <-s.calm:
		case <-time.After(time.Duration(c.mood.Int64N(int64(s.lease / 8)))):
		}
	}
	return nil
}
