package redistest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// NewSentinels starts replicas of the server at primary, host:port, and three sentinels that
// watch it under the given name. All of them reach the server there. NewSentinels returns
// when the sentinels know each other and the replicas.
func NewSentinels(t testing.TB, name, primary string, replicas int) []*Server {
	t.Helper()
	for range replicas {
		NewReplica(t, primary)
	}
	var sentinels []*Server
	for range 3 {
		sentinels = append(sentinels, NewSentinel(t, name, primary))
	}
	for deadline := time.Now().Add(20 * time.Second); !know(sentinels, replicas); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited 20 s for the sentinels to know each other and the replicas")
		}
	}
	return sentinels
}

// know reports whether all sentinels know each other and that many replicas.
func know(sentinels []*Server, replicas int) bool {
	want := fmt.Sprintf("slaves=%d,sentinels=3", replicas)
	for _, s := range sentinels {
		c, err := redis.Dial("tcp", s.Addr, redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(time.Second))
		if err != nil {
			return false
		}
		info, err := redis.String(c.Do("INFO", "sentinel"))
		c.Close()
		if err != nil || !strings.Contains(info, "status=ok") || !strings.Contains(info, want) {
			return false
		}
	}
	return true
}
