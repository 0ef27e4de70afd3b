package setlock

import (
	"context"
	"sync"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/clock"
	"example.com/setlock/internal/notify"
	"example.com/setlock/internal/wire"
)

// A shared is what all Locks of one Pool share outside the limits of this Pool: the
// notifier, the renewer, and spare connections for requests that must not wait for the Pool.
type shared struct {
	pool     *redis.Pool
	spare    *redis.Pool // the connections outside the limits of pool
	notifier *notify.Notifier

	// Guarded by allShared.mu:
	users    int      // calls of openShared without a close
	renewer  *renewer // nil while there is no session
	sessions int      // calls of renew without a stopRenewer
}

// maxSpare bounds the spare connections of a Pool. Thousands of sessions that lose Redis
// together must not flood it with connections.
const maxSpare = 16

// allShared has the shared of every Pool that is in use.
var allShared = struct {
	mu sync.Mutex
	of map[*redis.Pool]*shared
}{of: make(map[*redis.Pool]*shared)}

// openShared returns the shared of pool, and makes it for the first caller. The caller must
// close it.
func openShared(pool *redis.Pool) *shared {
	allShared.mu.Lock()
	defer allShared.mu.Unlock()
	s := allShared.of[pool]
	if s == nil {
		dial := func(ctx context.Context) (redis.Conn, error) { return wire.Dial(ctx, pool) }
		s = &shared{pool: pool, spare: wire.Outside(pool, maxSpare), notifier: notify.New(dial)}
		allShared.of[pool] = s
	}
	s.users++
	return s
}

// close ends the use of s by one caller. The last close forgets s.
func (s *shared) close() {
	allShared.mu.Lock()
	defer allShared.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(allShared.of, s.pool)
	}
}

// renew begins to renew e, and returns the renewer. It makes the renewer for the first
// session. The caller must call stopRenewer.
func (s *shared) renew(c clock.Clock, e *renewal) *renewer {
	allShared.mu.Lock()
	defer allShared.mu.Unlock()
	if s.renewer == nil {
		s.renewer = startRenewer(c, s.pool, s.spare, s.notifier)
	}
	s.sessions++
	s.renewer.add(e)
	return s.renewer
}

// stopRenewer ends the use of the renewer by one session. With the last session, it ends the
// renewer, and waits for its end.
func (s *shared) stopRenewer() {
	if r := s.leave(); r != nil {
		r.close()
	}
}

// leave records that one session less uses the renewer. It returns the renewer if this was
// the last session, else nil.
func (s *shared) leave() *renewer {
	allShared.mu.Lock()
	defer allShared.mu.Unlock()
	if s.sessions--; s.sessions > 0 {
		return nil
	}
	r := s.renewer
	s.renewer = nil
	return r
}
