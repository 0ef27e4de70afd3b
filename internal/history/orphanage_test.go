package history_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// An orphanage is one Lock, all alone on a server that has a replica: if one of its
// acquisitions stands, that is its own.
type orphanage struct {
	t       *testing.T
	seed    uint64
	mood    *rand.Rand
	server  *redistest.Embedded
	network *redistest.Network
	detour  *redistest.Network // another way to the server
	lock    *setlock.Lock
	orphans int // at most so many
	met     map[string]int
	story   []string

	mu      sync.Mutex
	strays  bool // new connections take the detour
	away    bool // the replica confirms nothing
	replica snapshot
	late    *rand.Rand
}

// A snapshot is the data of a server.
type snapshot struct {
	at   time.Time
	data [2]string
	left [2]time.Duration // 0: no expiry
}

var ownKeys = [2]string{lockKey, fenceKey}

func newOrphanage(t *testing.T, seed uint64, met map[string]int) *orphanage {
	o := &orphanage{t: t, seed: seed, met: met, mood: rand.New(rand.NewPCG(seed, 3000)), late: rand.New(rand.NewPCG(seed, 3001))}
	o.server = redistest.NewEmbedded(t)
	redistest.Do(t, o.server.Dial, "PING")
	o.server.Server().SetPreHook(o.hook)
	o.network, o.detour = redistest.NewNetwork(t, o.server.Dial), redistest.NewNetwork(t, o.server.Dial)
	timeout := time.Duration(0)
	if o.mood.IntN(2) == 0 { // without one, a call has only its context
		timeout = time.Duration(100+o.mood.IntN(900)) * time.Millisecond
	}
	pool := redistest.Pool(t, o.network.Dial)
	pool.MaxIdle = o.mood.IntN(4)
	pool.DialContext = func(ctx context.Context) (redis.Conn, error) {
		conn, err := o.path().Dial(ctx)
		if err != nil {
			return nil, err
		}
		return redis.NewConn(conn, timeout, timeout), nil
	}
	o.lock = &setlock.Lock{
		Key:      lockKey,
		Pool:     pool,
		Owner:    "c1",
		Lease:    []time.Duration{time.Second, 6 * time.Second, time.Minute}[o.mood.IntN(3)],
		Replicas: o.mood.IntN(2),
	}
	return o
}

// path is the network that new connections go through.
func (o *orphanage) path() *redistest.Network {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.strays {
		return o.detour
	}
	return o.network
}

// hook answers WAIT as a server with one replica does.
func (o *orphanage) hook(peer *server.Peer, cmd string, args ...string) bool {
	if cmd != "WAIT" {
		return false
	}
	now := o.snapshot()
	o.mu.Lock()
	away := o.away
	if o.late.IntN(2) == 0 {
		o.replica = now // what it has, it need not have confirmed
	}
	o.mu.Unlock()
	if away {
		ms, _ := strconv.Atoi(args[1])
		time.Sleep(time.Duration(ms) * time.Millisecond)
		peer.WriteInt(0)
	} else {
		peer.WriteInt(1)
	}
	return true
}

func (o *orphanage) snapshot() snapshot {
	s := snapshot{at: time.Now()}
	for i, key := range ownKeys {
		s.data[i], _ = o.server.Get(key)
		s.left[i] = o.server.TTL(key)
	}
	return s
}

// failover makes the replica the server.
func (o *orphanage) failover() {
	o.mu.Lock()
	s := o.replica
	o.mu.Unlock()
	o.network.Reset()
	synctest.Wait()
	o.server.Del(lockKey)
	o.server.Del(fenceKey)
	for i, key := range ownKeys {
		left := s.left[i] - time.Since(s.at)
		if s.data[i] == "" || left <= 0 {
			continue
		}
		o.server.Set(key, s.data[i])
		o.server.SetTTL(key, left)
	}
	o.note("failover: the key holds %q for %v", s.data[0], s.left[0]-time.Since(s.at))
}

// setAway has the replica have all until now, and confirm nothing from now on, or everything.
func (o *orphanage) setAway(away bool) {
	now := o.snapshot()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away, o.replica = away, now
}

func (o *orphanage) astray(strays bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.strays = strays
}

func (o *orphanage) note(format string, args ...any) {
	o.story = append(o.story, fmt.Sprintf(format, args...))
}

// some returns a random duration up to most, often much less.
func (o *orphanage) some(most time.Duration) time.Duration {
	d := most >> o.mood.IntN(16)
	return d/2 + time.Duration(o.mood.Int64N(int64(d/2)+1))
}

func (o *orphanage) errorf(format string, args ...any) {
	o.t.Helper()
	o.t.Errorf("seed %d, lease %v, %d replicas: %s\n%s", o.seed, o.lock.Lease, o.lock.Replicas, fmt.Sprintf(format, args...), strings.Join(o.story, "\n"))
}
