package setlock_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
)

var compatibleSeeds = flag.Int("compatible.seeds", 16, "how many contests of both versions to run")

// TestVersionsCompete has candidates of both versions compete for one key, through random troubles, in
// virtual time. The seed decides what happens, and when. The name of a subtest has its seed.
func TestVersionsCompete(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1600)) // almost all garbage is the server's interpreters of Lua
	sum := make(map[string]int)
	for seed := range uint64(*compatibleSeeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := locktest.NewServer(t)
				server.Confirm(func() int { return 1 })
				c := newContest(t, seed, server.Dial, 6*time.Second, sum)
				c.exact, c.troubles = true, seed%2 == 1
				if !c.troubles {
					c.delay = time.Duration(c.luck.Int64N(int64(c.lease / 1000)))
				}
				c.run(c.luck.IntN(2), 20*c.lease)
			})
		})
	}
	t.Log(sum)
	if sum["contests"] < *compatibleSeeds {
		return // -run has chosen some
	}
	for _, what := range []string{"earlier terms", "present terms", "earlier to present", "present to earlier"} {
		if sum[what] < *compatibleSeeds && !t.Failed() {
			t.Errorf("%d %s in all, too few to prove anything: %v", sum[what], what, sum)
		}
	}
}

// In real time, the seed decides only what the candidates and the driver do next.
func TestVersionsCompeteOnAServer(t *testing.T) {
	server := redistest.NewServer(t)
	sum := make(map[string]int)
	c := newContest(t, 1, server.Dial, time.Second/2, sum)
	c.troubles = true
	c.run(0, 3*time.Second)
	t.Log(sum)
	if sum["earlier terms"]+sum["present terms"] == 0 && !t.Failed() {
		t.Error("there was no term")
	}
}

// A contest is candidates of both versions for one key, and what their judge knows.
type contest struct {
	t        *testing.T
	seed     uint64
	dial     redistest.Dialer
	key      string
	lease    time.Duration
	luck     *rand.Rand    // of the driver
	delay    time.Duration // of every way, at most
	troubles bool          // networks fail
	exact    bool          // time is virtual: contexts end when they should, and hand-overs take no longer than they should
	direct   redis.Conn    // past the networks

	mu     sync.Mutex
	rivals []*rival
	last   int64    // the fence of the last term
	ended  *handing // the last term has ended by a release, and no other has begun
	sum    map[string]int
}

// A handing is a release for which rivals wait.
type handing struct {
	from *rival
	at   time.Time
}

// A rival is a candidate of either version.
type rival struct {
	*contest
	name     string
	version  string // earlier or present
	mood     *rand.Rand
	network  *redistest.Network
	replicas int

	// Guarded by contest.mu:
	waits    time.Time   // since when it waits for the lock; zero: it does not
	believes func() bool // nil: it does not lead
}

func newContest(t *testing.T, seed uint64, dial redistest.Dialer, lease time.Duration, sum map[string]int) *contest {
	c := &contest{t: t, seed: seed, dial: dial, lease: lease, sum: sum, luck: rand.New(rand.NewPCG(seed, 0))}
	c.key = compatibleKeys[c.luck.IntN(len(compatibleKeys))]
	conn, err := dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.direct = redis.NewConn(conn, 0, 0)
	t.Cleanup(func() { c.direct.Close() })
	return c
}

// run has up to three candidates of each version compete for d.
func (c *contest) run(replicas int, d time.Duration) {
	c.sum["contests"]++
	fences := newEarlierLock(c.t, c.dial, c.key, "").fences
	if c.luck.IntN(2) == 0 {
		c.last = farFence
		if _, err := c.direct.Do("SET", fences, farFence); err != nil {
			c.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	var living sync.WaitGroup
	for i, n := range []int{1 + c.luck.IntN(3), 1 + c.luck.IntN(3)} {
		version := []string{"earlier", "present"}[i]
		for j := range n {
			r := &rival{
				contest: c, name: fmt.Sprintf("%s%d", version, j), version: version, replicas: replicas,
				mood: rand.New(rand.NewPCG(c.seed, uint64(1+3*i+j))),
			}
			c.rivals = append(c.rivals, r)
			r.connect()
			living.Go(func() { r.live(ctx) })
		}
	}
	for end := time.Now().Add(d); time.Now().Before(end) && !c.t.Failed(); {
		time.Sleep(c.lease / 10)
		c.check(fences)
		if c.troubles {
			c.trouble()
		}
	}
	for _, r := range c.rivals {
		c.setFaults(r, redistest.Faults{Delay: c.delay})
	}
	cancel()
	living.Wait()
}

// setFaults sets the faults of the network that r has now.
func (c *contest) setFaults(r *rival, f redistest.Faults) {
	c.mu.Lock()
	network := r.network
	c.mu.Unlock()
	network.Set(f)
}

// trouble changes, now and then, what is wrong with a network.
func (c *contest) trouble() {
	r := c.rivals[c.luck.IntN(len(c.rivals))]
	switch f := (redistest.Faults{Delay: c.delay}); c.luck.IntN(30) {
	case 0:
		c.setFaults(r, redistest.Silent)
	case 1:
		f.HoldRequests = true
		c.setFaults(r, f)
	case 2:
		f.HoldReplies = true
		c.setFaults(r, f)
	case 3:
		f.LoseReplies = true
		c.setFaults(r, f)
	case 4, 5, 6, 7, 8:
		c.setFaults(r, f)
	}
}

// check checks the fence key: it exists, never goes back, and outlives the lock by far.
func (c *contest) check(fences string) {
	held, err1 := redis.Int64(c.direct.Do("PTTL", c.key))
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	if last == 0 || last == farFence {
		return // no term has begun
	}
	fence, err2 := redis.Int64(c.direct.Do("GET", fences))
	left, err3 := redis.Int64(c.direct.Do("PTTL", fences))
	if err1 != nil || err2 != nil || err3 != nil || fence < last || left < held+(55*time.Minute).Milliseconds() {
		c.errorf("the fence key has %d for %d ms after the fence %d, and the lock lives for %d ms: %v, %v, %v", fence, left, last, held, err1, err2, err3)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.ended; h != nil && time.Since(h.at) > c.handTime() && c.exact && !c.troubles {
		c.errorf("%s released the lock %v ago, and nobody has acquired it", h.from.name, time.Since(h.at))
	}
}

// handTime is how long a hand-over may take: ways from and to the server, and whole milliseconds.
func (c *contest) handTime() time.Duration { return 20*c.delay + 2*time.Millisecond }

func (c *contest) errorf(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("seed %d: "+format, append([]any{c.seed}, args...)...)
}

// begins is called by r when it begins to lead.
func (r *rival) begins(fence int64, believes func() bool) {
	c := r.contest
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range c.rivals {
		if q.believes != nil && q.believes() {
			c.errorf("%s leads when %s begins to, with %d", q.name, r.name, fence)
		}
	}
	if fence <= c.last {
		c.errorf("%s leads with %d after %d", r.name, fence, c.last)
	}
	if h := c.ended; h != nil {
		if took := time.Since(h.at); took > c.handTime() && c.exact && !c.troubles {
			c.errorf("%s leads %v after %s has released the lock", r.name, took, h.from.name)
		}
		c.sum[h.from.version+" to "+r.version]++
	}
	c.sum[r.version+" terms"]++
	c.last, c.ended = fence, nil
	r.believes, r.waits = believes, time.Time{}
}

// ends is called by r when it has stopped to lead, before it releases the lock. r is idle afterwards.
func (r *rival) ends(releases bool) {
	c := r.contest
	c.mu.Lock()
	defer c.mu.Unlock()
	r.believes = nil
	for _, q := range c.rivals {
		if releases && !q.waits.IsZero() && time.Since(q.waits) > c.handTime() {
			c.ended = &handing{r, time.Now()}
		}
	}
}

// follows is called by r when another holds the lock.
func (r *rival) follows() {
	r.contest.mu.Lock()
	defer r.contest.mu.Unlock()
	if r.waits.IsZero() {
		r.waits = time.Now()
	}
}

// connect gives r a network, as a new process has it.
func (r *rival) connect() {
	network := redistest.NewNetwork(r.t, r.dial)
	network.Set(redistest.Faults{Delay: r.delay})
	r.contest.mu.Lock()
	defer r.contest.mu.Unlock()
	r.network, r.waits = network, time.Time{}
}
