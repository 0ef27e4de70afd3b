package redispool_test

import (
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock/redispool"
)

// urlOf returns a URL of servers.
func urlOf(servers []*redistest.Server, parameters ...string) string {
	query := make(url.Values)
	for _, s := range servers[1:] {
		query.Add("addr", s.Addr)
	}
	for i := 0; i < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
	}
	return "redis://" + servers[0].Addr + "?" + query.Encode()
}

// write writes on a connection of pool, and returns the port of the server that it leads to.
// A connection that was broken before is not used again.
func write(pool *redis.Pool) (port string, err error) {
	conn := pool.Get()
	defer conn.Close()
	if _, err := conn.Do("SET", "k", "v"); err != nil {
		return "", err
	}
	info, err := redis.String(conn.Do("INFO", "server"))
	_, port, _ = strings.Cut(info, "tcp_port:")
	port, _, _ = strings.Cut(port, "\r\n")
	return port, err
}

// awaitWrite waits until a connection of pool writes to another server than old.
func awaitWrite(t *testing.T, pool *redis.Pool, old *redistest.Server) {
	t.Helper()
	_, oldPort, _ := net.SplitHostPort(old.Addr)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		port, err := write(pool)
		switch {
		case err == nil && port != oldPort:
			return
		case time.Now().After(deadline):
			t.Fatalf("waited 30 s for a new primary: port %s, %v", port, err)
		}
	}
}

// A sentinel hangs. Then the primary hangs, too, and fails over.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	primary := redistest.NewServer(t)
	sentinels := redistest.NewSentinels(t, "mymaster", primary.Addr, 1)
	pool := pool(t, urlOf(sentinels, "master_name", "mymaster", "read_timeout", "500ms"))
	conn := pool.Get()
	if role, err := redis.Values(conn.Do("ROLE")); err != nil || string(role[0].([]byte)) != "master" {
		t.Fatalf("ROLE = %s, %v", role, err)
	}
	conn.Close()

	hung := sentinels[0]
	hung.Pause()
	fresh := poolOf(t, config(t, urlOf(sentinels, "master_name", "mymaster")))
	start := time.Now()
	if _, err := write(fresh); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > redispool.DefaultDialTimeout/2 {
		t.Errorf("a dial took %v while a sentinel hangs", took)
	}
	hung.Continue() // two sentinels of three must agree, and promptly

	primary.Pause()
	awaitWrite(t, pool, primary)
	primary.Continue()
}

func TestSentinelWithAPassword(t *testing.T) {
	t.Parallel()
	primary := redistest.NewServer(t, "--requirepass", "secret of Redis")
	sentinel := redistest.NewSentinel(t, "m", primary.Addr)
	redistest.Do(t, sentinel.Dial, "ACL", "SETUSER", "guide", "on", ">secret@guide", "-@all", "+auth", "+sentinel|get-master-addr-by-name")
	redistest.Do(t, sentinel.Dial, "ACL", "SETUSER", "default", "off")
	good := "redis://guide:secret%40guide@" + sentinel.Addr + "?master_name=m&password=secret+of+Redis"
	check(t, config(t, good))
	for _, bad := range []string{
		strings.Replace(good, "secret%40guide", "secret", 1),
		strings.Replace(good, "guide:secret%40guide@", "", 1),
		strings.Replace(good, "secret+of+Redis", "secret", 1),
		strings.Replace(good, "&password=secret+of+Redis", "", 1),
	} {
		err := refused(t, pool(t, bad))
		secretFree(t, err)
		if !strings.Contains(err.Error(), "WRONGPASS") && !strings.Contains(err.Error(), "NOAUTH") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// The pool of a Cluster knows one node, and leads to the node of its key. When this node dies,
// the pool leads to the replica that takes over.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	nodes := redistest.NewCluster(t)
	byPort := make(map[string]*redistest.Server)
	for _, s := range nodes {
		_, port, _ := net.SplitHostPort(s.Addr)
		byPort[port] = s
	}
	pools := make(map[string]*redis.Pool)
	for _, key := range []string{"k", "foo", "{bar}1", "x{", "y{}z"} {
		c := config(t, urlOf(nodes[:1]))
		c.Key = key
		pools[key] = poolOf(t, c)
	}
	for key, pool := range pools {
		awaitSet(t, pool, key) // MOVED on any other node
	}
	port, err := write(pools["k"])
	if err != nil {
		t.Fatal(err)
	}
	old := byPort[port]
	another := nodes[0]
	if another == old {
		another = nodes[1]
	}
	c := config(t, "redis://"+another.Addr)
	c.ReadTimeout = 500 * time.Millisecond
	pool := poolOf(t, c)
	awaitReplica(t, pool)
	old.Pause()
	awaitWrite(t, pool, old)
	old.Continue()
}

// awaitSet waits until a connection of pool can set key.
func awaitSet(t *testing.T, pool *redis.Pool, key string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn := pool.Get()
		_, err := conn.Do("SET", key, "v")
		conn.Close()
		switch {
		case err == nil:
			return
		case time.Now().After(deadline):
			t.Fatalf("waited 30 s to set %q: %v", key, err)
		}
	}
}

// awaitReplica waits until the server of pool has a replica that confirms.
func awaitReplica(t *testing.T, pool *redis.Pool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn := pool.Get()
		conn.Do("SET", "k", "v")
		n, err := redis.Int(conn.Do("WAIT", 1, 200))
		conn.Close()
		switch {
		case err == nil && n == 1:
			return
		case time.Now().After(deadline):
			t.Fatalf("waited 30 s for a replica: %d, %v", n, err)
		}
	}
}
