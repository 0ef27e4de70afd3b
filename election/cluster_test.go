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
			_, err = conn.Do("EXISTS", key)
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

	j := new(judge)
	for i := range 3 {
		start(t, &election.Election{
			Lock:      &setlock.Lock{Key: key, Pool: pool(), Owner: fmt.Sprint(i), Lease: lease, Replicas: 1},
			OnElected: j.work,
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

// A judge counts those who lead at a time, in a failover.
type judge struct {
	mu                         sync.Mutex
	believers, overlaps, terms int
	fences                     []int64
}

func (j *judge) work(ctx context.Context) error {
	fence, _ := setlock.FenceFromContext(ctx)
	j.mu.Lock()
	j.fences = append(j.fences, fence)
	j.terms++
	if j.believers++; j.believers > 1 {
		j.overlaps++
	}
	j.mu.Unlock()
	<-ctx.Done()
	j.mu.Lock()
	j.believers--
	j.mu.Unlock()
	return nil
}

// failOver waits for a leader, has its primary killed, and waits for a leader again.
func (j *judge) failOver(t *testing.T, lease time.Duration, kill func()) {
	t.Helper()
	leads := func(terms int) func() bool {
		return func() bool {
			j.mu.Lock()
			defer j.mu.Unlock()
			return j.believers == 1 && j.terms > terms
		}
	}
	eventually(t, 20*time.Second, "a first leader", leads(0))
	time.Sleep(lease)
	j.mu.Lock()
	terms := j.terms
	j.mu.Unlock()
	begin := time.Now()
	kill()
	// Its lock may live on with the new primary, and its term with that.
	eventually(t, 60*time.Second, "a leader after the failover", func() bool {
		return leads(terms)() || time.Since(begin) > 3*lease && leads(terms-1)()
	})
	t.Logf("a leader on the new primary %v after the old one was killed, with a lease of %v", time.Since(begin).Round(time.Millisecond), lease)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.overlaps != 0 {
		t.Errorf("%d times two led", j.overlaps)
	}
	for i := 1; i < len(j.fences); i++ {
		if j.fences[i] <= j.fences[i-1] {
			t.Errorf("fence %d after %d", j.fences[i], j.fences[i-1])
		}
	}
}
