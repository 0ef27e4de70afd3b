package setlocktest

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock/redispool"
)

// address is what the pools of a Server call it in their errors.
const address = "setlocktest:6379"

// A Server is a Redis in the process of a test. It has no address on the network: only its
// pools reach it. Its keys expire by the clock, which in a bubble is the clock of the bubble.
//
// A Server has no replicas. Nobody acquires a lock on it whose Replicas is not 0.
//
// All methods may be called concurrently. The exceptions are Stop and Start, which must not be
// called at the same time as each other. When a method cannot do what it says, it fails the
// test.
type Server struct {
	t     testing.TB
	redis *redistest.Embedded

	mu      sync.Mutex // guards the fields below; never held across I/O
	stopped bool
	routes  map[*redis.Pool]*route
}

// NewServer starts a Server that has no data. When t ends, the Server stops, and its pools are
// closed. In a bubble, t must be the T of the bubble.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, redis: redistest.NewPatient(t), routes: make(map[*redis.Pool]*route)}
	t.Cleanup(s.Stop)
	return s
}

// Pool returns a new pool of connections to s. It is a pool of package redispool with its
// defaults, so its time-outs are those of a program that uses redispool. Give each candidate
// a pool of its own, as in production: CutOff and Refuse then concern one candidate.
func (s *Server) Pool() *redis.Pool {
	s.t.Helper()
	network := redistest.NewNetwork(s.t, s.dial)
	config := redispool.Config{
		Addrs: []string{address},
		Dial:  func(ctx context.Context, _, _ string) (net.Conn, error) { return network.Dial(ctx) },
	}
	pool, err := config.Pool()
	if err != nil {
		s.t.Fatalf("setlocktest: %v", err)
	}
	s.t.Cleanup(func() { pool.Close() })

	s.mu.Lock()
	defer s.mu.Unlock()
	r := &route{network: network}
	r.apply(s.stopped)
	s.routes[pool] = r
	return pool
}

// dial opens a connection in memory.
func (s *Server) dial(ctx context.Context) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, syscall.ECONNREFUSED
	}
	return s.redis.Dial(ctx)
}

// Stop stops s, as if its process were killed: every connection breaks, what is on its way is
// lost, and new connections are refused. When Stop has returned, s does nothing until Start.
// s keeps its data. Keys expire while s is stopped. Stop does nothing if s is stopped.
func (s *Server) Stop() {
	if !s.setStopped(true) {
		return
	}
	s.redis.Close()
}

// Start starts s after Stop, with its data and, as after any restart of a Redis, without the
// scripts that it had cached. To lose the data too, call Flush before Start. Start does
// nothing if s is not stopped.
func (s *Server) Start() {
	s.t.Helper()
	s.mu.Lock()
	stopped := s.stopped
	s.mu.Unlock()
	if !stopped {
		return
	}
	// Stop has cancelled the context by which commands such as BLPOP block.
	s.redis.Ctx, s.redis.CtxCancel = context.WithCancel(context.Background())
	redistest.Do(s.t, s.redis.Dial, "SCRIPT", "FLUSH")
	s.setStopped(false)
}

// setStopped sets whether s is stopped. It reports whether this is a change.
func (s *Server) setStopped(stopped bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped == stopped {
		return false
	}
	s.stopped = stopped
	for _, r := range s.routes {
		r.apply(stopped)
	}
	return true
}

// Flush deletes all data of s, the fencing tokens included. Nothing is announced, as when a
// Redis without persistence restarts. Flush works while s is stopped, too.
func (s *Server) Flush() { s.redis.FlushAll() }

// Expire ends the time of key, which may be the key of a lock. The key is gone, and nothing is
// announced, as when the time had run out. Expire fails the test if s has no such key. Expire
// works while s is stopped, too.
func (s *Server) Expire(key string) {
	s.t.Helper()
	if !s.redis.Del(key) {
		s.t.Errorf("setlocktest: Expire of %q, which does not exist", key)
	}
}
