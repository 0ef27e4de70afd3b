package history_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/leaktest"
	"example.com/setlock/internal/redistest"
)

var (
	seeds = flag.Int("history.seeds", 15, "how many histories to record and check")
	seed  = flag.Uint64("history.seed", 0, "record and check the history of this seed only")
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	clients      = 5
	virtualTime  = 30 * time.Second
	virtualLease = time.Second
)

// TestHistories records what clients see through networks that fail, and what the
// server does, in virtual time, and checks both. The seed decides what happens and
// when; how goroutines take turns is up to the runtime.
func TestHistories(t *testing.T) {
	first, last := uint64(1), uint64(*seeds)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	told := make(map[string]int)
	events := 0
	for seed := first; seed <= last; seed++ {
		ops, w := record(t, seed)
		name := fmt.Sprintf("seed %d", seed)
		w.judge(t, name)
		w.agree(t, name, ops)
		if !t.Failed() { // what these find costs the checker a long search
			check(t, name, ops, 0)
		}
		if t.Failed() {
			t.Fatalf("go test -run TestHistories -history.seed %d records it again", seed)
		}
		events += len(w.events)
		for _, o := range ops {
			told[fmt.Sprint(o.action, " ", o.outcome)]++
		}
	}
	t.Logf("%d histories, %d events on the server, results: %v", last-first+1, events, told)
	for _, kind := range []string{
		"acquire unknown", "acquire done", "acquire mine", "acquire other", "renew unknown", "renew done", "renew notHeld",
		"extend unknown", "extend done", "extend notHeld", "release unknown", "release done", "release notHeld", "look done",
		"look nobody", "believe done", "finish unknown", "finish done", "remove done", "persist done", "write unknown", "write done", "write refused",
		"read done",
	} {
		if told[kind] == 0 && *seed == 0 && *seeds >= 15 {
			t.Errorf("no history has a %q: they prove less than they claim", kind)
		}
	}
}

// record has clients live through faults.
func record(t *testing.T, seed uint64) (ops []op, w *witness) {
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		server := redistest.NewEmbedded(t)
		redistest.Do(t, server.Dial, "PING")
		w = newWitness(t, h, server, seed)
		ctx, cancel := context.WithTimeout(t.Context(), virtualTime)
		defer cancel()
		var work sync.WaitGroup
		for id := range clients {
			network := redistest.NewNetwork(t, server.Dial)
			c := newClient(t, h, id+1, seed, network.Dial, virtualLease)
			c.virtual = true
			work.Go(func() { c.run(ctx) })
			work.Go(func() { c.suffer(ctx, network, rand.New(rand.NewPCG(seed, uint64(100+id)))) })
		}
		mood := rand.New(rand.NewPCG(seed, 1000))
		work.Go(func() {
			for {
				pause(ctx, time.Duration(mood.ExpFloat64()*float64(5*time.Second))+1)
				if ctx.Err() != nil {
					return
				}
				w.remove(mood.IntN(3) == 0)
			}
		})
		work.Wait()
		time.Sleep(5 * time.Second) // for what is undone behind the clients' backs
		ops = h.end()
	})
	return ops, w
}

const (
	realTime  = 2 * time.Second
	realLease = 200 * time.Millisecond
	realSlack = slack(200 * time.Millisecond) // a script may be interrupted on a busy machine
)

// TestServerHistory records what clients see of a real Redis that kills their
// connections, and checks that.
func TestServerHistory(t *testing.T) {
	server := redistest.NewServer(t)
	h := newHistory()
	ctx, cancel := context.WithTimeout(t.Context(), realTime)
	defer cancel()
	var work sync.WaitGroup
	for id := range clients {
		c := newClient(t, h, id+1, uint64(h.start.UnixNano()), server.Dial, realLease)
		c.pace = realLease / 20
		c.fault(true) // any connection may break, at any time
		work.Go(func() { c.run(ctx) })
	}
	socket, err := server.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	killer := redis.NewConn(socket, 0, 0)
	defer killer.Close()
	work.Go(func() {
		for {
			pause(ctx, time.Duration(rand.ExpFloat64()*float64(realLease))+1)
			if ctx.Err() != nil {
				return
			}
			// Twice, for one connection may be accepted just after the first. What has not
			// run by then of the calls that are over, never will.
			over := h.recorded()
			for range 2 {
				if _, err := killer.Do("CLIENT", "KILL", "TYPE", "normal"); err != nil { // spares its caller
					t.Errorf("CLIENT KILL: %v", err)
				}
			}
			h.settle(0, over)
		}
	})
	work.Wait()
	ops := h.end()
	told := make(map[string]int)
	for _, o := range ops {
		told[fmt.Sprint(o.action, " ", o.outcome)]++
	}
	t.Logf("results: %v", told)
	check(t, "server", ops, realSlack)
	for _, kind := range []string{"acquire done", "acquire other", "write done"} {
		if told[kind] == 0 {
			t.Errorf("the history has no %q: it proves less than it claims", kind)
		}
	}
}

// suffer lets one thing after another be wrong with the network of c.
func (c *client) suffer(ctx context.Context, n *redistest.Network, mood *rand.Rand) {
	for {
		pause(ctx, time.Duration(mood.ExpFloat64()*float64(virtualLease))+1)
		if ctx.Err() != nil {
			return
		}
		howLong := min(time.Duration(mood.ExpFloat64()*float64(virtualLease)/2), 2*virtualLease)
		delay := howLong / 4
		c.fault(true)
		switch mood.IntN(8) {
		case 0, 1:
			n.Set(redistest.Faults{HoldReplies: true})
		case 2:
			n.Set(redistest.Faults{HoldRequests: true})
		case 3:
			n.Set(redistest.Silent)
		case 4:
			n.Set(redistest.Faults{LoseReplies: true})
		case 5:
			n.Set(redistest.Faults{Refuse: true})
			n.Reset()
		case 6:
			n.Set(redistest.Faults{Delay: delay})
		case 7:
			n.Reset()
		}
		time.Sleep(howLong)
		n.Set(redistest.Faults{})
		time.Sleep(delay + time.Millisecond) // what was delayed arrives
		c.settle(c.id, c.recorded())
		c.fault(false)
	}
}
