package election_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// A stallMeter measures how late a goroutine of its own runs. Other processes may starve the process
// of the test, and its candidates are not to blame for that.
type stallMeter struct {
	memory time.Duration // how long a stall is remembered

	mu      sync.Mutex
	ticked  time.Time
	stalls  []stall
	longest time.Duration
}

type stall struct {
	end  time.Time
	late time.Duration
}

// start measures until stop is called, which the end of t does, too.
func (m *stallMeter) start(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	m.ticked = time.Now()
	var measuring sync.WaitGroup
	measuring.Go(func() {
		const tick = 2 * time.Millisecond
		for ctx.Err() == nil {
			time.Sleep(tick)
			m.tick(time.Now(), tick)
		}
	})
	stop = func() {
		cancel()
		measuring.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func (m *stallMeter) tick(now time.Time, tick time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	late := now.Sub(m.ticked) - tick
	m.ticked = now
	m.longest = max(m.longest, late)
	m.stalls = slices.DeleteFunc(m.stalls, func(old stall) bool { return now.Sub(old.end) > m.memory })
	if late > tick {
		m.stalls = append(m.stalls, stall{now, late})
	}
}

// since returns the longest stall since some time. A stall that has not ended counts.
func (m *stallMeter) since(from time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	longest := time.Since(m.ticked)
	for _, stall := range m.stalls {
		if stall.end.After(from) {
			longest = max(longest, stall.late)
		}
	}
	return longest
}

// ever returns the longest stall that has ended.
func (m *stallMeter) ever() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.longest
}

// ask runs a command on a connection of its own to addr, host:port. d is the limit for each step.
func ask(addr string, d time.Duration, command string, args ...any) (any, error) {
	conn, err := redis.Dial("tcp", addr, redis.DialConnectTimeout(d), redis.DialReadTimeout(d), redis.DialWriteTimeout(d))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Do(command, args...)
}
