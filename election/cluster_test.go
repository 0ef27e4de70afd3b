package election_test

import (
	"fmt"
	"log"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/redispool"
)

// A Pool for the node of a Redis Cluster that serves one lock.
func Example_cluster() {
	config, err := redispool.ParseURL("redis://10.0.0.1:6379?addr=10.0.0.2:6379&addr=10.0.0.3:6379")
	if err != nil {
		log.Fatal(err)
	}
	config.Key = "scheduler"
	pool, err := config.Pool()
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	e := &election.Election{Lock: &setlock.Lock{Key: config.Key, Pool: pool, Replicas: 1}}
	fmt.Println(e.Lock.Key)
}

// clusterKey is the key of the lock in the tests of clusters. Another key in the same slot, which
// tests write to, is its name in braces.
const clusterKey, clusterTag = "k", "{k}"

// A cluster is the nodes of a Redis Cluster: some primaries, and a replica of each.
type cluster []*redistest.Server

// pool returns a pool for the node that serves the key.
func (c cluster) pool(t *testing.T) *redis.Pool {
	return poolOf(t, redispool.Config{Addrs: addrs(c), Key: clusterKey})
}

// primary returns the node that serves the key, or nil if it does not have so many replicas.
func (c cluster) primary(t *testing.T, replicas int) *redistest.Server {
	conn, err := c.pool(t).DialContext(t.Context())
	if err != nil {
		return nil
	}
	defer conn.Close()
	conn.Do("SET", clusterTag, "x")
	if n, err := redis.Int(conn.Do("WAIT", replicas, 100)); err != nil || n < replicas {
		return nil
	}
	info, _ := redis.String(conn.Do("INFO", "server"))
	for _, s := range c {
		if _, port, _ := strings.Cut(s.Addr, ":"); strings.Contains(info, "tcp_port:"+port+"\r\n") {
			return s
		}
	}
	return nil
}

// A failover in a Redis Cluster, with Replicas 1: a leader again within the time of the failover and
// a lease, and never two.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	c := cluster(redistest.NewCluster(t))
	eventually(t, 30*time.Second, "the cluster", func() bool { return c.primary(t, 1) != nil })
	newJudge(t, 2*time.Second).failOver(func() *redis.Pool { return c.pool(t) }, func() {
		old := c.primary(t, 1)
		old.Kill()
		// The new primary has no replica before the old one is back as a replica. If the old one were
		// back too soon, with no data, it would be a primary without data.
		eventually(t, 30*time.Second, "the failover", func() bool {
			now := c.primary(t, 0)
			return now != nil && now != old
		})
		old.Restart()
	})
}

// While the slot of its key is being moved, an election has no leader; afterwards it has one.
func TestClusterMovesTheSlot(t *testing.T) {
	t.Parallel()
	const lease = 2 * time.Second
	c := cluster(redistest.NewCluster(t))
	id := func(s *redistest.Server) string { return string(redistest.Do(t, s.Dial, "CLUSTER", "MYID").([]byte)) }
	isPrimary := func(s *redistest.Server) bool {
		role, _ := redis.Values(redistest.Do(t, s.Dial, "ROLE"), nil)
		return len(role) > 0 && string(role[0].([]byte)) == "master"
	}
	serves := func(s *redistest.Server) bool {
		_, err := ask(s.Addr, time.Second, "SET", clusterTag, "x")
		return err == nil
	}
	ready := func(s *redistest.Server) bool { // for keys that are moved there
		info, err := redis.String(ask(s.Addr, time.Second, "CLUSTER", "INFO"))
		return err == nil && strings.Contains(info, "cluster_state:ok")
	}
	var from, to *redistest.Server
	eventually(t, 30*time.Second, "the cluster", func() bool {
		for _, s := range c {
			switch {
			case !isPrimary(s):
			case serves(s):
				from = s
			case ready(s):
				to = s
			}
		}
		return from != nil && to != nil
	})

	e := &election.Election{Lock: &setlock.Lock{Key: clusterKey, Pool: c.pool(t), Lease: lease}}
	stop := start(t, e)
	defer stop()
	eventually(t, 20*time.Second, "a leader", e.IsLeader)

	slot := redistest.Do(t, from.Dial, "CLUSTER", "KEYSLOT", clusterKey)
	redistest.Do(t, to.Dial, "CLUSTER", "SETSLOT", slot, "IMPORTING", id(from))
	redistest.Do(t, from.Dial, "CLUSTER", "SETSLOT", slot, "MIGRATING", id(to))
	host, port, _ := strings.Cut(to.Addr, ":")
	redistest.Do(t, from.Dial, "MIGRATE", host, port, "", 0, 5000, "KEYS", clusterKey, clusterTag+":fence", clusterTag)
	eventually(t, 20*time.Second, "the end of the term", func() bool { return !e.IsLeader() })
	time.Sleep(2 * lease) // the lock expires, on either node
	err := e.Check(lease)
	if err == nil || !strings.Contains(err.Error(), "ASK ") && !strings.Contains(err.Error(), "TRYAGAIN ") || e.IsLeader() {
		t.Errorf("Check = %v, IsLeader %v while the slot is being moved, want ASK or TRYAGAIN", err, e.IsLeader())
	}
	for _, s := range []*redistest.Server{to, from} {
		redistest.Do(t, s.Dial, "CLUSTER", "SETSLOT", slot, "NODE", id(to))
	}
	eventually(t, 20*time.Second, "a leader when the slot was moved", e.IsLeader)
}
