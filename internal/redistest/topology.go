package redistest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// NewReplica starts a replica of the server at primary, host:port.
func NewReplica(t testing.TB, primary string) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(primary)
	return NewServer(t, "--replicaof", host+" "+port)
}

// AwaitReplicas waits until n replicas of the server that dial reaches confirm promptly
// what is written there: right after its synchronization, a replica may
// confirm once a second only.
func AwaitReplicas(t testing.TB, dial Dialer, n int) {
	t.Helper()
	conn, err := dial(t.Context())
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	c := redis.NewConn(conn, 0, 0)
	defer c.Close()
	deadline := time.Now().Add(20 * time.Second)
	for prompt := 0; prompt < 5; {
		if time.Now().After(deadline) {
			t.Fatalf("waited 20 s for %d replicas", n)
		}
		if _, err := c.Do("SET", "redistest:written", "x"); err != nil {
			t.Fatal(err)
		}
		confirmed, err := redis.Int(c.Do("WAIT", n, 100))
		if err != nil {
			t.Fatal(err)
		}
		if prompt++; confirmed < n {
			prompt = 0
		}
	}
}

// NewSentinel starts a Redis Sentinel that watches the server at primary, host:port, under
// the given name: with a quorum of two, it takes a primary that is silent for half a
// second for dead.
func NewSentinel(t testing.TB, name, primary string) *Server {
	t.Helper()
	dir := t.TempDir()
	host, primaryPort, _ := net.SplitHostPort(primary)
	return newServer(t, func(port string) []string {
		config := filepath.Join(dir, port+".conf")
		lines := []string{
			"bind 127.0.0.1", "port " + port, "dir " + dir, "logfile " + port + ".log",
			"sentinel monitor " + name + " " + host + " " + primaryPort + " 2",
			"sentinel down-after-milliseconds " + name + " 500",
			"sentinel failover-timeout " + name + " 2000",
		}
		if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{config, "--sentinel"}
	})
}

// NewCluster starts a Redis Cluster of three primaries with a replica each.
func NewCluster(t testing.TB) []*Server {
	t.Helper()
	const nodes = 6
	create := []string{"--cluster", "create", "--cluster-replicas", "1", "--cluster-yes"}
	var cluster []*Server
	for range nodes {
		dir := t.TempDir()
		s := newServer(t, func(port string) []string {
			return []string{
				"--bind", "127.0.0.1", "--port", port, "--cluster-port", strconv.Itoa(freePort(t)), "--dir", dir, "--save", "",
				"--logfile", "redis.log", "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
				"--repl-diskless-sync-delay", "0",
			}
		})
		cluster = append(cluster, s)
		create = append(create, s.Addr)
	}
	if out, err := exec.Command(program(t, "redis-cli"), create...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli %v: %v: %s", create, err, out)
	}
	return cluster
}
