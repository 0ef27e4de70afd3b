package setlock_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// With Replicas, an acquisition is announced after the replicas have confirmed it, never before.

// replicas has the server of w answer WAIT with the number of replicas that confirm returns. The
// function that it returns returns what has been published.
func replicas(t *testing.T, w *locktest.World, confirm func() int) (published func() []string) {
	var mu sync.Mutex
	var messages []string
	w.Server.Answer(func(c *server.Peer, args []string) bool {
		if want := fmt.Sprint((lease / 12).Milliseconds()); args[1] != want {
			t.Errorf("WAIT for %s ms, want a twelfth of the lease, %s", args[1], want)
		}
		c.WriteInt(confirm())
		return true
	}, "WAIT")
	w.Server.Answer(func(_ *server.Peer, args []string) bool {
		mu.Lock()
		defer mu.Unlock()
		messages = append(messages, args[1])
		return false
	}, "PUBLISH")
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(messages)
	}
}

func TestAnnouncedWhenConfirmed(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		var confirmed atomic.Int64
		published := replicas(t, w, func() int { return int(confirmed.Load()) })
		l := w.Direct(lease)
		l.Replicas = 1
		for range 3 {
			if _, err := l.Lock(t.Context(), time.Minute); err == nil {
				t.Error("Lock = nil, want the shortfall")
			}
		}
		if got := published(); len(got) != 0 {
			t.Errorf("published of acquisitions that were not confirmed: %q", got)
		}
		previous, _ := w.Server.Get("{k}:fence")
		confirmed.Store(1)
		locktest.MustLock(t, l, time.Minute)
		value, _ := w.Server.Get("k")
		want := fmt.Sprintf("acquired %d 60000 %s %s", l.Fence(), previous, value)
		if got := published(); len(got) != 1 || got[0] != want {
			t.Errorf("published %q, want %q", got, want)
		}
		locktest.MustUnlock(t, l)
		if got := published(); len(got) != 2 || got[1] != "released "+value {
			t.Errorf("published %q, want the release", got[1:])
		}
	})
}

// When the connection breaks at the announcement, the acquisition remains.
func TestConfirmedWithoutAnAnnouncement(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		replicas(t, w, func() int { return 1 })
		l := w.Lock(lease)
		l.Replicas = 1
		for _, fate := range []redistest.Fate{redistest.Break, redistest.Swallow} {
			w.Network.Next(locktest.Sends("PUBLISH"), fate)
			locktest.MustLock(t, l, time.Minute)
			locktest.MustUnlock(t, l)
		}
	})
}

// The caller leaves while its confirmed acquisition is being announced. The acquisition is undone,
// and the undo is announced.
func TestCallerLeavesDuringTheAnnouncement(t *testing.T) {
	locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
		published := replicas(t, w, func() int { return 1 })
		l := w.Lock(lease)
		l.Replicas = 1
		locktest.LoadScripts(t, l)
		before := len(published())
		w.Network.Next(locktest.Sends("PUBLISH"), redistest.OneWay)
		locktest.TimesOut(t, 100*time.Millisecond, locktest.Acquires(l, time.Hour))
		w.Network.Set(redistest.Faults{})
		time.Sleep(3 * time.Second)
		if w.Server.Exists("k") {
			t.Error("an acquisition that nobody waits for remains")
		}
		got := published()[before:]
		if len(got) != 2 || !strings.HasPrefix(got[0], "acquired ") || !strings.HasPrefix(got[1], "released ") {
			t.Errorf("published %q, want the acquisition and its release", got)
		}
		locktest.MustLock(t, l, time.Hour)
	})
}

// A real server announces nothing while its real replica is stopped.
func TestReplicaThatIsStoppedAnnouncesNothing(t *testing.T) {
	t.Parallel()
	primary, servers, l := replicated(t, 1)
	conn, err := redis.Dial("tcp", primary.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard := redis.PubSubConn{Conn: conn}
	if err := heard.Subscribe("setlock:k"); err != nil {
		t.Fatal(err)
	}
	receive := func() string {
		for {
			switch m := heard.ReceiveWithTimeout(20 * time.Second).(type) {
			case redis.Message:
				return string(m.Data)
			case error:
				t.Fatal(m)
			}
		}
	}
	servers[0].Pause()
	_, err = l.Lock(t.Context(), time.Minute)
	shortfall(t, "Lock", err)
	servers[0].Continue()
	redistest.AwaitReplicas(t, primary.Dial, 1)
	locktest.MustLock(t, l, time.Minute)
	if got, want := receive(), fmt.Sprintf("acquired %d 60000 ", l.Fence()); !strings.HasPrefix(got, want) {
		t.Errorf("first heard %q, want %q", got, want)
	}
	other := &setlock.Lock{Key: "k", Pool: l.Pool}
	if h, err := other.Holder(t.Context()); err != nil || h.Fence != l.Fence() {
		t.Errorf("Holder = %+v, %v, want fence %d", h, err, l.Fence())
	}
}

// A reply that is not the script's is an error, and nothing is announced.
func TestReplyThatIsNotTheScripts(t *testing.T) {
	for name, reply := range map[string][]int{"too short": {1}, "a fence of 0": {1, 0, 0}, "a fence that is not greater": {1, 7, 7}} {
		t.Run(name, func(t *testing.T) {
			locktest.InBubble(t, func(t *testing.T, w *locktest.World) {
				published := replicas(t, w, func() int { return 1 })
				w.Server.Answer(func(c *server.Peer, _ []string) bool {
					c.WriteLen(len(reply))
					for _, n := range reply {
						c.WriteInt(n)
					}
					return true
				}, "acquire")
				l := w.Direct(lease)
				l.Replicas = 1
				_, err := l.Lock(t.Context(), time.Minute)
				locktest.Fails(t, "Lock", err)
				if l.Fence() != 0 || len(published()) != 0 {
					t.Errorf("Fence = %d, published %q, want nothing", l.Fence(), published())
				}
			})
		})
	}
}
