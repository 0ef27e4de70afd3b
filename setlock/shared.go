package setlock

import (
	"context"
	"sync"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/notify"
	"example.com/setlock/internal/wire"
)

// A shared is what all Locks of one Pool share, outside that Pool's limits: the
// notifier, and connections for what must not wait for the Pool.
type shared struct {
	pool     *redis.Pool
	spare    *redis.Pool
	notifier *notify.Notifier
	users    int // guarded by shares.mu
}

// maxSpare bounds the spare connections, so that thousands of sessions that lose
// their Redis together do not storm it.
const maxSpare = 16

var shares = struct {
	mu sync.Mutex
	of map[*redis.Pool]*shared
}{of: make(map[*redis.Pool]*shared)}

// openShared returns what the Locks of pool share, until the caller closes it.
func openShared(pool *redis.Pool) *shared {
	shares.mu.Lock()
	defer shares.mu.Unlock()
	s := shares.of[pool]
	if s == nil {
		dial := func(ctx context.Context) (redis.Conn, error) { return wire.Dial(ctx, pool) }
		s = &shared{pool: pool, spare: wire.Outside(pool, maxSpare), notifier: notify.New(dial)}
		shares.of[pool] = s
	}
	s.users++
	return s
}

// close ends the use by one caller of openShared.
func (s *shared) close() {
	shares.mu.Lock()
	defer shares.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(shares.of, s.pool)
	}
}
