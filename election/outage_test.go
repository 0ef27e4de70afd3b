package election_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/internal/redistest"
)

// seen returns the leader and the time that ServeHTTP of e shows.
func seen(t *testing.T, e *election.Election) (leader string, at time.Time) {
	t.Helper()
	answer := httptest.NewRecorder()
	e.ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
	var body struct {
		Leader string
		Seen   time.Time
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	return body.Leader, body.Seen
}

// A follower that cannot ask Redis reports the leader until the leader's time has run out, and then
// nobody. It tries to be elected at its pace. When Redis answers again, it follows again.
func TestFollowerWithoutRedisReportsNobodyInTheEnd(t *testing.T) {
	for name, faults := range map[string]redistest.Faults{"refused": {Refuse: true}, "silent": redistest.Silent} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				leader := candidate(t, w.server.Dial, "leader", nil)
				b := w.candidate("b", nil)
				stop := w.leadAndFollow(leader, b)
				if who, at := seen(t, b); who != "leader" || time.Since(at) > lease+time.Second {
					t.Errorf("%q seen %v ago, want the leader", who, time.Since(at))
				}
				changes := changesOf(t, b)
				w.network.Set(faults)
				if faults.Refuse {
					w.network.Reset()
				}
				_, last := seen(t, b)
				if c := next(t, changes, lease+lease/4); c.Leader != "" || c.Leading || c.Err != nil {
					t.Errorf("told %+v, want that nobody is known to lead", c)
				}
				who, at := seen(t, b)
				if who != "" || !at.Equal(last) || !b.Leader().Nobody() {
					t.Errorf("ServeHTTP shows %q, seen %v, Leader %+v, want nobody, seen %v", who, at, b.Leader(), last)
				}
				time.Sleep(10 * lease)
				if len(changes) > 0 {
					t.Errorf("told %+v besides", <-changes)
				}
				w.network.Set(redistest.Faults{})
				if c := next(t, changes, lease); c.Leader != "leader" {
					t.Errorf("told %+v, want the leader again", c)
				}
				if _, at := seen(t, b); !at.Equal(time.Now()) {
					t.Errorf("seen %v ago, want now", time.Since(at))
				}
				stop()
				synctest.Wait()
				if time.Sleep(lease); !b.IsLeader() {
					t.Error("b does not lead after the leader has left")
				}
			})
		})
	}
}

// A follower that has lost Redis dials it a few times per lease: for its attempts, for its watch, and
// for announcements.
func TestFollowerWithoutRedisIsPaced(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		var dials atomic.Int64
		leader := candidate(t, w.server.Dial, "leader", nil)
		b := candidate(t, func(ctx context.Context) (net.Conn, error) {
			dials.Add(1)
			return w.network.Dial(ctx)
		}, "b", nil)
		w.leadAndFollow(leader, b)
		w.network.Set(redistest.Faults{Refuse: true})
		w.network.Reset()
		time.Sleep(4 * lease)
		if !b.Leader().Nobody() {
			t.Errorf("Leader = %+v, want nobody", b.Leader())
		}
		dials.Store(0)
		time.Sleep(20 * lease)
		if n := dials.Load(); n < 40 || n > 20*20 {
			t.Errorf("%d dials in 20 leases, want a few per lease", n)
		} else {
			t.Logf("%d dials in 20 leases", n)
		}
	})
}
