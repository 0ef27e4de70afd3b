package election_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/redispool"
)

// A failover by three sentinels, with Replicas 1: a leader again within the time of the failover and
// a lease, and never two.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	primary := redistest.NewServer(t)
	sentinels := redistest.NewSentinels(t, "mymaster", primary.Addr, 2)
	newJudge(t, 2*time.Second).failOver(func() *redis.Pool { return sentinelPool(t, sentinels) }, primary.Kill)
}

// sentinelPool returns a pool for the primary that the sentinels name.
func sentinelPool(t *testing.T, sentinels []*redistest.Server) *redis.Pool {
	return poolOf(t, redispool.Config{Addrs: addrs(sentinels), MasterName: "mymaster"})
}

func addrs(servers []*redistest.Server) (addrs []string) {
	for _, s := range servers {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// poolOf returns the pool of c, until t ends.
func poolOf(t *testing.T, c redispool.Config) *redis.Pool {
	t.Helper()
	pool, err := c.Pool()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return pool
}

// Two sentinels of three accept connections and answer nothing. With a short lease, there is a leader
// at once, although a dial to one of them takes longer than an acquisition may take.
func TestSentinelsThatHangCostNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const primary = "10.0.0.9:6379"
		w.hook(func(c *server.Peer, cmd string, _ ...string) bool {
			switch strings.ToUpper(cmd) {
			case "SENTINEL":
				host, port, _ := net.SplitHostPort(primary)
				c.WriteStrings([]string{host, port})
			case "ROLE":
				c.WriteStrings([]string{"master"})
			default:
				return false
			}
			return true
		})
		silent := redistest.NewNetwork(t, w.server.Dial)
		silent.Set(redistest.Silent)
		c := redispool.Config{
			Addrs:      []string{"10.0.0.1:26379", "10.0.0.2:26379", "10.0.0.3:26379"},
			MasterName: "mymaster",
		}
		c.Dial = func(ctx context.Context, _, addr string) (net.Conn, error) {
			if slices.Contains(c.Addrs[:2], addr) {
				return silent.Dial(ctx)
			}
			return w.network.Dial(ctx)
		}
		begin := time.Now()
		elected := make(chan time.Duration, 1)
		start(t, &election.Election{
			Lock: &setlock.Lock{Key: "k", Pool: poolOf(t, c), Lease: 2 * time.Second},
			OnElected: func(ctx context.Context) error {
				elected <- time.Since(begin)
				<-ctx.Done()
				return nil
			},
		})
		select {
		case took := <-elected:
			if took > 0 {
				t.Errorf("elected after %v, want at once", took)
			}
		case <-time.After(time.Minute):
			t.Error("no leader for a minute")
		}
	})
}

// A Pool for a primary that Redis Sentinel watches.
func Example_sentinel() {
	config, err := redispool.ParseURL("redis://10.0.0.1:26379?master_name=mymaster&addr=10.0.0.2:26379&addr=10.0.0.3:26379")
	if err != nil {
		log.Fatal(err)
	}
	pool, err := config.Pool()
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	e := &election.Election{Lock: &setlock.Lock{Key: "scheduler", Pool: pool, Replicas: 1}}
	fmt.Println(e.Lock.Key)
}
