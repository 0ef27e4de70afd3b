package setlocktest

import (
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
)

var (
	works   = redistest.Faults{}
	silent  = redistest.Silent
	refused = redistest.Faults{Refuse: true}
)

// A route is the network between a pool and its server.
type route struct {
	network *redistest.Network
	faults  redistest.Faults // while the server is not stopped
}

// apply makes the network what it has to be, now that the server is stopped or not.
func (r *route) apply(stopped bool) {
	faults := r.faults
	if stopped {
		faults = refused
	}
	r.network.Set(faults)
	if faults.Refuse {
		r.network.Reset()
	}
}

// CutOff makes the network between pool and s silent. What either side sends does not arrive,
// and no error tells that it does not. New connections open, but nothing on them is answered.
// So calls wait until their time-outs. This is how a client experiences a partition of the
// network, or a Redis that hangs. Other pools are not affected.
//
// CutOff fails the test if pool is not from [Server.Pool] of s. So do Refuse and Reconnect.
func (s *Server) CutOff(pool *redis.Pool) {
	s.t.Helper()
	s.setRoute(pool, silent)
}

// Refuse breaks every connection of pool, and refuses new ones. What is on its way is lost.
// Other pools are not affected.
func (s *Server) Refuse(pool *redis.Pool) {
	s.t.Helper()
	s.setRoute(pool, refused)
}

// Reconnect ends a CutOff or a Refuse of pool. After a CutOff, what was sent meanwhile arrives
// now, as on a network that sends lost packets again. This includes requests whose clients
// do not wait for them any more. While s is stopped, pool reaches s after the next Start.
func (s *Server) Reconnect(pool *redis.Pool) {
	s.t.Helper()
	s.setRoute(pool, works)
}

// setRoute sets the faults of the network of pool.
func (s *Server) setRoute(pool *redis.Pool, faults redistest.Faults) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.routes[pool]
	if r == nil {
		s.t.Error("setlocktest: this pool is not one of this Server")
		return
	}
	r.faults = faults
	r.apply(s.stopped)
}
