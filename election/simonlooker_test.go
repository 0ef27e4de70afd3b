package election_test

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// An onlooker is a process that is no candidate and watches the lock: now and again it
// opens and closes watches, while its network is slow, and then keeps one.
type onlooker struct {
	s       *simulation
	network *redistest.Network
	lock    *setlock.Lock
	stop    context.CancelFunc
	done    chan struct{}

	mu     sync.Mutex
	since  time.Time // since when the watch is open; zero: it is not
	holder setlock.Holder
}

// onlook starts an onlooker.
func (s *simulation) onlook() {
	mood := rand.New(rand.NewPCG(s.seed, 1<<32))
	o := &onlooker{s: s, done: make(chan struct{})}
	o.network = redistest.NewNetwork(s.t, func(ctx context.Context) (net.Conn, error) { return s.dial(ctx, nil) })
	o.lock = &setlock.Lock{Key: lockKey, Pool: redistest.Pool(s.t, o.network.Dial), Lease: s.lease, Replicas: s.replicas}
	ctx, cancel := context.WithCancel(s.t.Context())
	o.stop = cancel
	s.looker = o
	go o.run(ctx, mood)
}

// leave ends it, and checks that nothing is left.
func (o *onlooker) leave() {
	o.stop()
	<-o.done
	o.lock.Pool.Close()
	wait()
	if open := o.network.Open(); open > 0 {
		o.s.errorf("the onlooker: %d connections are open after its end", open)
	}
}

func (o *onlooker) run(ctx context.Context, mood *rand.Rand) {
	defer close(o.done)
	// Of another key: it keeps the connection for announcements.
	other := (&setlock.Lock{Key: "other", Pool: o.lock.Pool, Lease: o.s.lease}).Watch(ctx)
	var drained sync.WaitGroup
	drained.Go(func() {
		for range other {
		}
	})
	defer drained.Wait()
	for ctx.Err() == nil {
		slow := 1 + time.Duration(mood.Int64N(int64(o.s.lease/50)))
		o.network.Set(redistest.Faults{Delay: slow})
		for range mood.IntN(6) {
			// What is heard and what is done may come at the same time.
			o.watch(ctx, time.Duration(mood.IntN(5))*slow/2)
			sleep(ctx, time.Duration(mood.IntN(5))*slow/2)
		}
		o.network.Set(redistest.Faults{Delay: o.s.latency, Jitter: o.s.jitter})
		o.watch(ctx, o.s.lease*time.Duration(2+mood.IntN(4)))
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// watch watches the lock for d.
func (o *onlooker) watch(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	o.told(time.Now(), setlock.Holder{})
	for h := range o.lock.Watch(ctx) {
		o.mu.Lock()
		o.holder = h
		o.mu.Unlock()
	}
	o.told(time.Time{}, setlock.Holder{})
}

func (o *onlooker) told(since time.Time, h setlock.Holder) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since, o.holder = since, h
}

// check checks that it knows who holds the lock.
func (o *onlooker) check(value, fence string) {
	s := o.s
	o.mu.Lock()
	since, holder := o.since, o.holder
	o.mu.Unlock()
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	from := now.Add(-s.lease * 3 / 2)
	for _, w := range s.wrong {
		if w.meets(from, now) {
			return
		}
	}
	if !since.IsZero() && since.Before(from) {
		s.knows(nil, "the onlooker", holder, value, fence, true)
	}
}
