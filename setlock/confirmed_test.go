package setlock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// With Replicas, an acquisition is announced when its replicas have confirmed it, and not
// before.

// replicas has the embedded server answer WAIT with as many replicas as the function says, and
// returns what was published until now.
func (w *world) replicas(confirm func() int) (published func() []string) {
	var mu sync.Mutex
	var messages []string
	redistest.Do(w.t, w.server.Dial, "PING") // starts the server
	w.server.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		switch cmd {
		case "WAIT":
			if want := fmt.Sprint((lease / 12).Milliseconds()); args[1] != want {
				w.t.Errorf("WAIT for %s ms, want a twelfth of the lease, %s", args[1], want)
			}
			c.WriteInt(confirm())
			return true
		case "PUBLISH":
			mu.Lock()
			defer mu.Unlock()
			messages = append(messages, args[1])
		}
		return false
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return messages
	}
}

func TestAnnouncedWhenConfirmed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var confirmed atomic.Int64
		published := w.replicas(func() int { return int(confirmed.Load()) })
		l := w.direct(lease)
		l.Replicas = 1
		for range 3 {
			if _, err := l.Lock(t.Context(), time.Minute); err == nil {
				t.Error("Lock = nil, want the shortfall")
			}
		}
		if got := published(); len(got) != 0 {
			t.Errorf("published of acquisitions that were not confirmed: %q", got)
		}
		previous, _ := w.server.Get("{k}:fence")
		confirmed.Store(1)
		mustLock(t, l, time.Minute)
		value, _ := w.server.Get("k")
		want := fmt.Sprintf("acquired %d 60000 %s %s", l.Fence(), previous, value)
		if got := published(); len(got) != 1 || got[0] != want {
			t.Errorf("published %q, want %q", got, want)
		}
		if err := l.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := published(); len(got) != 2 || got[1] != "released "+value {
			t.Errorf("published %q, want the release", got[1:])
		}
	})
}

// Without the right to publish, and when the connection breaks behind the announcement, the
// acquisition stands.
func TestConfirmedWithoutAnAnnouncement(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.replicas(func() int { return 1 })
		l := w.lock(lease)
		l.Replicas = 1
		publish := func(request []byte) bool { return strings.Contains(string(request), "PUBLISH\r\n") }
		for _, fate := range []redistest.Fate{redistest.Break, redistest.Swallow} {
			w.network.Next(publish, fate)
			mustLock(t, l, time.Minute)
			if err := l.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The caller leaves while its acquisition, confirmed, is being announced: it is undone, and that is
// announced.
func TestCallerLeavesDuringTheAnnouncement(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		published := w.replicas(func() int { return 1 })
		l := w.lock(lease)
		l.Replicas = 1
		warm(t, l)
		before := len(published())
		w.network.Next(func(request []byte) bool { return strings.Contains(string(request), "PUBLISH\r\n") }, redistest.OneWay)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := l.Lock(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock = %v, want a timeout", err)
		}
		w.network.Set(redistest.Faults{})
		time.Sleep(3 * time.Second)
		if w.server.Exists("k") {
			t.Error("an acquisition that nobody waits for stands")
		}
		got := published()[before:]
		if len(got) != 2 || !strings.HasPrefix(got[0], "acquired ") || !strings.HasPrefix(got[1], "released ") {
			t.Errorf("published %q, want the acquisition and its release", got)
		}
		mustLock(t, l, time.Hour)
	})
}

// The same on a real server and a real replica.
func TestReplicaThatIsStoppedAnnouncesNothing(t *testing.T) {
	t.Parallel()
	primary, replicas, l := replicated(t, 1)
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
	replicas[0].Pause()
	_, err = l.Lock(t.Context(), time.Minute)
	shortfall(t, "Lock", err)
	replicas[0].Continue()
	redistest.AwaitReplicas(t, primary.Dial, 1)
	mustLock(t, l, time.Minute)
	if got, want := receive(), fmt.Sprintf("acquired %d 60000 ", l.Fence()); !strings.HasPrefix(got, want) {
		t.Errorf("first heard %q, want %q", got, want)
	}
	other := &setlock.Lock{Key: "k", Pool: l.Pool}
	if h, err := other.Holder(t.Context()); err != nil || h.Fence != l.Fence() {
		t.Errorf("Holder = %+v, %v, want fence %d", h, err, l.Fence())
	}
}
