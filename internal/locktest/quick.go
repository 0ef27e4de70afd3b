package locktest

import (
	"strconv"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// KeyOf returns the lock key in the arguments of a script.
func KeyOf(args []string) string {
	const key = 2 // behind the hash or the source, and the number of keys
	if len(args) <= key {
		return ""
	}
	return args[key]
}

// Quick makes s fit for many sessions, each with a key of its own: s runs itself what a session
// sends, acquisitions of free locks, renewals and releases, because every script would make a new
// Lua state. It announces nothing. For thousands of sessions, also call ClockTTL(false): then no
// key ages, and s does not look through all keys at every command.
func (s *Server) Quick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quick = true
}

// runQuickly runs the script named, if it is one of a session. It leaves whatever is unusual to
// the script itself.
func (s *Server) runQuickly(c *server.Peer, name string, args []string) (answered bool) {
	if len(args) < 5 {
		return false
	}
	keys, _ := strconv.Atoi(args[1])
	key, rest := KeyOf(args), args[2+keys:]
	held, err := s.Get(key)
	if err != nil && err != miniredis.ErrKeyNotFound {
		return false
	}
	switch name {
	case "acquire":
		fence := args[3]
		if held != "" || s.Exists(fence) {
			return false
		}
		s.Set(fence, "1")
		s.Set(key, rest[0])
		s.expire(key, rest[1])
		c.WriteLen(3)
		for _, n := range []int{1, 1, 0} {
			c.WriteInt(n)
		}
	case "renew":
		if held != rest[0] {
			c.WriteInt(0)
			break
		}
		s.expire(key, rest[1])
		c.WriteInt(1)
	case "release":
		if held == "" || held != rest[1] {
			return false
		}
		s.Del(key)
		c.WriteInt(1)
	default:
		return false
	}
	return true
}

func (s *Server) expire(key, ms string) {
	n, _ := strconv.Atoi(ms)
	s.SetTTL(key, time.Duration(n)*time.Millisecond)
}
