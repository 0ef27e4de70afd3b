package election_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// dialNode connects to the node of a Redis Cluster that serves a key: it asks
// one node after the other, and follows where that points.
func dialNode(ctx context.Context, nodes []string, key string) (redis.Conn, error) {
	timeouts := []redis.DialOption{
		redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(time.Second), redis.DialWriteTimeout(time.Second),
	}
	var failures []error
	for _, addr := range nodes {
		for range 3 { // redirections
			conn, err := redis.DialContext(ctx, "tcp", addr, timeouts...)
			if err != nil {
				failures = append(failures, err)
				break
			}
			_, err = conn.Do("PTTL", key)
			if err == nil {
				return conn, nil
			}
			conn.Close()
			failures = append(failures, err)
			moved := strings.Fields(err.Error()) // MOVED slot host:port
			if len(moved) != 3 || moved[0] != "MOVED" {
				break
			}
			addr = moved[2]
		}
	}
	return nil, errors.Join(failures...)
}

// A Pool for the node of a Redis Cluster that serves one lock: see the function
// dialNode beside this example.
func Example_cluster() {
	nodes := []string{"10.0.0.1:6379", "10.0.0.2:6379", "10.0.0.3:6379"}
	const key = "scheduler"
	pool := &redis.Pool{
		MaxIdle: 4,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return dialNode(ctx, nodes, key)
		},
	}
	defer pool.Close()
	l := &setlock.Lock{Key: key, Pool: pool, Replicas: 1}
	fmt.Println(l.Key)
}

// A failover in a Redis Cluster, with Replicas 1: a leader again within the
// time of the failover and a lease, and never two.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	const lease, key = 2 * time.Second, "k"
	cluster := redistest.NewCluster(t)
	var nodes []string
	for _, s := range cluster {
		nodes = append(nodes, s.Addr)
	}
	pool := func() *redis.Pool {
		p := &redis.Pool{MaxIdle: 4, DialContext: func(ctx context.Context) (redis.Conn, error) {
			return dialNode(ctx, nodes, key)
		}}
		t.Cleanup(func() { p.Close() })
		return p
	}
	// primary returns the node that serves the key, if it has so many replicas.
	primary := func(replicas int) *redistest.Server {
		conn, err := dialNode(t.Context(), nodes, key)
		if err != nil {
			return nil
		}
		defer conn.Close()
		conn.Do("SET", "{"+key+"}", "x")
		if n, err := redis.Int(conn.Do("WAIT", replicas, 100)); err != nil || n < replicas {
			return nil
		}
		info, _ := redis.String(conn.Do("INFO", "server"))
		for _, s := range cluster {
			if _, port, _ := strings.Cut(s.Addr, ":"); strings.Contains(info, "tcp_port:"+port+"\r\n") {
				return s
			}
		}
		return nil
	}
	eventually(t, 30*time.Second, "the cluster", func() bool { return primary(1) != nil })

	j := newJudge(t)
	for i := range 3 {
		start(t, &election.Election{
			Lock:      &setlock.Lock{Key: key, Pool: pool(), Owner: fmt.Sprint(i), Lease: lease, Replicas: 1},
			OnElected: j.work(fmt.Sprint(i)),
		})
	}
	j.failOver(t, lease, func() {
		old := primary(1)
		old.Kill()
		// The new primary has no replica before the old one is back as that; an empty
		// one that is back too soon would be a primary without data.
		eventually(t, 30*time.Second, "the failover", func() bool {
			now := primary(0)
			return now != nil && now != old
		})
		old.Restart()
	})
}

// A judge watches who leads, and when. It measures by how much its process, which
// the leaders share, is held up: so much longer than promised may one believe.
type judge struct {
	mu    sync.Mutex
	terms []tenure // in the order in which they began
	stall time.Duration
}

func newJudge(t *testing.T) *judge {
	j := new(judge)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		const tick = 5 * time.Millisecond
		for last := time.Now(); ctx.Err() == nil; {
			time.Sleep(tick)
			now := time.Now()
			j.mu.Lock()
			j.stall = max(j.stall, now.Sub(last)-tick)
			j.mu.Unlock()
			last = now
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return j
}

// alone fails t if two have led for longer than a stall explains.
func (j *judge) alone(t *testing.T) {
	t.Helper()
	d := j.overlap()
	j.mu.Lock()
	defer j.mu.Unlock()
	if d > j.stall {
		t.Errorf("two led for %v, with a stall of %v", d, j.stall)
	}
}

// A tenure is a term of some candidate. It is not over while its end is zero.
type tenure struct {
	who        string
	fence      int64
	begin, end time.Time
}

// work returns the OnElected of a candidate.
func (j *judge) work(who string) func(context.Context) error {
	return func(ctx context.Context) error {
		fence, _ := setlock.FenceFromContext(ctx)
		j.mu.Lock()
		i := len(j.terms)
		j.terms = append(j.terms, tenure{who: who, fence: fence, begin: time.Now()})
		j.mu.Unlock()
		<-ctx.Done()
		j.mu.Lock()
		j.terms[i].end = time.Now()
		j.mu.Unlock()
		return nil
	}
}

// of returns the terms of a candidate.
func (j *judge) of(who string) []tenure {
	j.mu.Lock()
	defer j.mu.Unlock()
	var terms []tenure
	for _, term := range j.terms {
		if term.who == who {
			terms = append(terms, term)
		}
	}
	return terms
}

// leads reports whether there is exactly one leader, after more terms than so many.
func (j *judge) leads(terms int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	leaders := 0
	for _, term := range j.terms {
		if term.end.IsZero() {
			leaders++
		}
	}
	return leaders == 1 && len(j.terms) > terms
}

// overlap returns the longest time for which two have led at once.
func (j *judge) overlap() (longest time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	for i, a := range j.terms {
		for _, b := range j.terms[i+1:] { // begun later
			end := now
			for _, t := range []tenure{a, b} {
				if !t.end.IsZero() && t.end.Before(end) {
					end = t.end
				}
			}
			longest = max(longest, end.Sub(b.begin))
		}
	}
	return longest
}

// fences fails t unless the fences have increased from term to term.
func (j *judge) fences(t *testing.T) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := 1; i < len(j.terms); i++ {
		if j.terms[i].fence <= j.terms[i-1].fence {
			t.Errorf("fence %d after %d", j.terms[i].fence, j.terms[i-1].fence)
		}
	}
}

// failOver waits for a leader, has its primary killed, and waits for a leader again.
func (j *judge) failOver(t *testing.T, lease time.Duration, kill func()) {
	t.Helper()
	eventually(t, 20*time.Second, "a first leader", func() bool { return j.leads(0) })
	time.Sleep(lease)
	j.mu.Lock()
	terms := len(j.terms)
	j.mu.Unlock()
	begin := time.Now()
	kill()
	// Its lock may live on with the new primary, and its term with that.
	eventually(t, 60*time.Second, "a leader after the failover", func() bool {
		return j.leads(terms) || time.Since(begin) > 3*lease && j.leads(terms-1)
	})
	t.Logf("a leader on the new primary %v after the old one was killed, with a lease of %v", time.Since(begin).Round(time.Millisecond), lease)
	j.alone(t)
	j.fences(t)
}

// While the slot of its key is being moved, an election has no leader; afterwards it has one.
func TestClusterMovesTheSlot(t *testing.T) {
	t.Parallel()
	const lease, key = 2 * time.Second, "k"
	cluster := redistest.NewCluster(t)
	var nodes []string
	for _, s := range cluster {
		nodes = append(nodes, s.Addr)
	}
	// do runs a command on a node.
	do := func(addr, command string, args ...any) any {
		t.Helper()
		conn, err := redis.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		reply, err := conn.Do(command, args...)
		if err != nil {
			t.Fatalf("%s %v: %v", command, args, err)
		}
		return reply
	}
	id := func(addr string) string { return string(do(addr, "CLUSTER", "MYID").([]byte)) }
	primaries := func() (all []string) {
		for _, addr := range nodes {
			if role, _ := redis.Values(do(addr, "ROLE"), nil); len(role) > 0 && string(role[0].([]byte)) == "master" {
				all = append(all, addr)
			}
		}
		return all
	}
	serves := func(addr string) bool {
		conn, err := redis.Dial("tcp", addr)
		if err != nil {
			return false
		}
		defer conn.Close()
		_, err = conn.Do("SET", "{"+key+"}", "x")
		return err == nil
	}
	ready := func(addr string) bool { // for keys that are moved there
		conn, err := redis.Dial("tcp", addr)
		if err != nil {
			return false
		}
		defer conn.Close()
		info, err := redis.String(conn.Do("CLUSTER", "INFO"))
		return err == nil && strings.Contains(info, "cluster_state:ok")
	}
	var from, to string
	eventually(t, 30*time.Second, "the cluster", func() bool {
		for _, addr := range primaries() {
			if serves(addr) {
				from = addr
			} else if ready(addr) {
				to = addr
			}
		}
		return from != "" && to != ""
	})

	pool := &redis.Pool{MaxIdle: 4, DialContext: func(ctx context.Context) (redis.Conn, error) {
		return dialNode(ctx, nodes, key)
	}}
	defer pool.Close()
	e := &election.Election{Lock: &setlock.Lock{Key: key, Pool: pool, Lease: lease}}
	stop := start(t, e)
	defer stop()
	eventually(t, 20*time.Second, "a leader", e.IsLeader)

	slot := do(from, "CLUSTER", "KEYSLOT", key)
	do(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", id(from))
	do(from, "CLUSTER", "SETSLOT", slot, "MIGRATING", id(to))
	host, port, _ := strings.Cut(to, ":")
	do(from, "MIGRATE", host, port, "", 0, 5000, "KEYS", key, "{"+key+"}:fence", "{"+key+"}")
	eventually(t, 20*time.Second, "the end of the term", func() bool { return !e.IsLeader() })
	time.Sleep(2 * lease) // the lock expires, wherever it is
	err := e.Check(lease)
	if err == nil || !strings.Contains(err.Error(), "ASK ") && !strings.Contains(err.Error(), "TRYAGAIN ") || e.IsLeader() {
		t.Errorf("Check = %v, IsLeader %v while the slot is being moved, want ASK or TRYAGAIN", err, e.IsLeader())
	}
	for _, addr := range []string{to, from} {
		do(addr, "CLUSTER", "SETSLOT", slot, "NODE", id(to))
	}
	eventually(t, 20*time.Second, "a leader when the slot was moved", e.IsLeader)
}
