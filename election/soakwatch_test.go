package election_test

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// feelPulse notes when the server is slow: it, or its disk, may be starved too.
func (s *soak) feelPulse(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(s.lease / 40) {
		sent := time.Now()
		s.mu.Lock()
		s.asked = sent
		s.mu.Unlock()
		_, err := ask(s.server.Addr, s.lease, "SET", "pulse", "x")
		s.mu.Lock()
		s.asked = time.Time{}
		if now := time.Now(); err != nil || now.Sub(sent) > s.lease/20 {
			s.ill = append(s.recent(s.ill), &soakSpan{sent, now})
		}
		s.mu.Unlock()
	}
}

// listen hears, as far as the server can tell it, of what happens to the key: fences increase in
// its order, and it is not released while its holder works.
func (s *soak) listen(ctx context.Context) {
	var last int64
	fences := make(map[string]int64) // by the value of the key
	for ctx.Err() == nil {
		conn, err := redis.Dial("tcp", s.server.Addr, redis.DialConnectTimeout(time.Second))
		if err != nil {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		subscriber := redis.PubSubConn{Conn: conn}
		for err := subscriber.Subscribe("setlock:k"); err == nil; {
			switch m := subscriber.Receive().(type) {
			case error:
				err = m
			case redis.Message:
				words := strings.Fields(string(m.Data))
				switch words[0] {
				case "acquired":
					fence, _ := strconv.ParseInt(words[1], 10, 64)
					if fence <= last {
						s.errorf("%s was given the fence %d after %d", words[4], fence, last)
					}
					last = fence
					clear(fences)
					fences[words[4]] = fence
				case "released":
					s.released(words[1], fences[words[1]])
				}
			}
		}
		stop()
		conn.Close()
	}
}

func (s *soak) released(value string, fence int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		if strings.HasSuffix(value, ":"+p.name) && p.working != nil && p.working.fence == fence {
			s.errorf("%s: released while its work goes on", p.name)
		}
	}
}
