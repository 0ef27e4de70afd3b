package election_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// dialPrimary asks one sentinel after the other for the primary and connects to the server that the
// sentinel names, unless that server has become a replica meanwhile.
func dialPrimary(ctx context.Context, sentinels []string, name string) (redis.Conn, error) {
	timeouts := []redis.DialOption{
		redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(time.Second), redis.DialWriteTimeout(time.Second),
	}
	var failures []error
	for _, addr := range sentinels {
		sentinel, err := redis.DialContext(ctx, "tcp", addr, timeouts...)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		at, err := redis.Strings(sentinel.Do("SENTINEL", "get-master-addr-by-name", name))
		sentinel.Close()
		if err != nil {
			failures = append(failures, err)
			continue
		}
		conn, err := redis.DialContext(ctx, "tcp", net.JoinHostPort(at[0], at[1]), timeouts...)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		role, err := redis.Values(conn.Do("ROLE"))
		if err == nil && fmt.Sprintf("%s", role[0]) == "master" {
			return conn, nil
		}
		conn.Close()
		if err == nil {
			err = fmt.Errorf("it is a %s", role[0])
		}
		failures = append(failures, fmt.Errorf("%s named %s: %w", addr, at, err))
	}
	return nil, errors.Join(failures...)
}

// A Pool for a primary that Redis Sentinel watches. The function dialPrimary stands beside this
// example.
func Example_sentinel() {
	sentinels := []string{"10.0.0.1:26379", "10.0.0.2:26379", "10.0.0.3:26379"}
	pool := &redis.Pool{
		MaxIdle: 4,
		DialContext: func(ctx context.Context) (redis.Conn, error) {
			return dialPrimary(ctx, sentinels, "mymaster")
		},
	}
	defer pool.Close()
	l := &setlock.Lock{Key: "scheduler", Pool: pool, Replicas: 1}
	fmt.Println(l.Key)
}

// A failover by three sentinels, with Replicas 1: a leader again within the time of the failover and
// a lease, and never two.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	primary := redistest.NewServer(t)
	sentinels := newSentinels(t, primary.Addr)
	newJudge(t, 2*time.Second).failOver(func() *redis.Pool { return sentinelPool(t, sentinels) }, primary.Kill)
}

// newSentinels starts two replicas of the server at primary, host:port, and three sentinels. All of
// them reach the server there. It returns the addresses of the sentinels.
func newSentinels(t *testing.T, primary string) []string {
	t.Helper()
	for range 2 {
		redistest.NewReplica(t, primary)
	}
	var sentinels []string
	for range 3 {
		sentinels = append(sentinels, redistest.NewSentinel(t, "mymaster", primary).Addr)
	}
	eventually(t, 20*time.Second, "the sentinels to know each other and the replicas", func() bool {
		for _, addr := range sentinels {
			info, err := redis.String(ask(addr, time.Second, "INFO", "sentinel"))
			if err != nil || !strings.Contains(info, "status=ok") || !strings.Contains(info, "slaves=2,sentinels=3") {
				return false
			}
		}
		return true
	})
	return sentinels
}

// sentinelPool returns a pool for the primary that the sentinels name.
func sentinelPool(t *testing.T, sentinels []string) *redis.Pool {
	return poolOf(t, func(ctx context.Context) (redis.Conn, error) {
		return dialPrimary(ctx, sentinels, "mymaster")
	})
}
