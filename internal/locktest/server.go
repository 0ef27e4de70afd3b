package locktest

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/redistest"
)

// A Server is an embedded server whose requests can be seen, counted and refused by name. All
// methods may be called concurrently.
type Server struct {
	*redistest.Embedded

	mu      sync.Mutex
	refusal string // the answer to every request; "": none
	quick   bool   // Quick was called
	hooks   []hook
}

type hook struct {
	names []string
	f     func(c *server.Peer, args []string) (answered bool)
}

// NewServer starts a Server that ends with t.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{Embedded: redistest.NewEmbedded(t)}
	redistest.Do(t, s.Dial, "PING") // starts the server that takes the hook
	s.Server().SetPreHook(s.before)
	return s
}

// before runs before each request, also of a script.
func (s *Server) before(c *server.Peer, command string, args ...string) (answered bool) {
	s.mu.Lock()
	refusal, hooks, quick := s.refusal, slices.Clone(s.hooks), s.quick
	s.mu.Unlock()
	if refusal != "" {
		c.WriteError(refusal)
		return true
	}
	name := nameOf(command, args...)
	for _, h := range hooks {
		if slices.Contains(h.names, name) && h.f(c, args) {
			return true
		}
	}
	return quick && command == "EVALSHA" && s.runQuickly(c, name, args)
}

// SetError has the server answer every request with an error; "" ends that.
func (s *Server) SetError(answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = answer
}

// Answer calls f before each of the requests named, with the arguments of its command. When f
// returns true, it has answered, and the server does not run the request.
func (s *Server) Answer(f func(c *server.Peer, args []string) (answered bool), names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks = append(s.hooks, hook{names, f})
}

// Before calls f before each of the requests named.
func (s *Server) Before(f func(), names ...string) {
	s.Answer(func(*server.Peer, []string) bool { f(); return false }, names...)
}

// Refuse has the server answer the requests named with an error, for as long as
// refused returns true; nil: always.
func (s *Server) Refuse(answer string, refused func() bool, names ...string) {
	s.Answer(func(c *server.Peer, _ []string) bool {
		if refused != nil && !refused() {
			return false
		}
		c.WriteError(answer)
		return true
	}, names...)
}

// Forbid has the server refuse the requests named, for want of rights.
func (s *Server) Forbid(names ...string) {
	s.Refuse("NOPERM this user has no permissions", nil, names...)
}

// Confirm has the server answer WAIT with the number of replicas that confirm returns.
func (s *Server) Confirm(confirm func() int) {
	s.Answer(func(c *server.Peer, _ []string) bool { c.WriteInt(confirm()); return true }, "WAIT")
}

// Times returns a function that returns when the requests named arrived since Times was called.
func (s *Server) Times(names ...string) func() []time.Time {
	var mu sync.Mutex
	var times []time.Time
	s.Before(func() {
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Now())
	}, names...)
	return func() []time.Time {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(times)
	}
}

// Count returns a function that returns how many of the requests named arrived since Count
// was called.
func (s *Server) Count(names ...string) func() int {
	times := s.Times(names...)
	return func() int { return len(times()) }
}

// Store stores in key and its fence key what an acquisition by owner stores, without an expiry. It
// announces nothing.
func (s *Server) Store(key, owner string, fence int64) {
	s.Set("{"+key+"}:fence", strconv.FormatInt(fence, 10))
	s.Set(key, Value(owner))
}

// A Request is one request as it arrived.
type Request struct {
	Key  string       // of the lock
	Conn *server.Peer // its connection
	At   time.Time
}

// Requests returns a function that returns the requests of scripts named that arrived since
// Requests was called, in the order of their arrival.
func (s *Server) Requests(names ...string) func() []Request {
	var mu sync.Mutex
	var requests []Request
	s.Answer(func(c *server.Peer, args []string) bool {
		mu.Lock()
		defer mu.Unlock()
		requests = append(requests, Request{KeyOf(args), c, time.Now()})
		return false
	}, names...)
	return func() []Request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(requests)
	}
}

// Gaps returns, by key, the longest time from one of requests to the next.
func Gaps(requests []Request) map[string]time.Duration {
	last, gaps := make(map[string]time.Time), make(map[string]time.Duration)
	for _, r := range requests {
		if before, ok := last[r.Key]; ok {
			gaps[r.Key] = max(gaps[r.Key], r.At.Sub(before))
		}
		last[r.Key] = r.At
	}
	return gaps
}
