package setlock_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

const someValue = "ABCDEFGHIJKLMNOPQRSTUVWXYZ:somebody"

// A foreign program may hold the lock with an empty value.
func TestWatchOfAnEmptyValue(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, dial), Lease: time.Second}
		c := watch(t, l)
		soon := 5 * time.Second
		if h := receive(t, c, soon); !h.Nobody() {
			t.Errorf("first saw %+v, want nobody", h)
		}
		redistest.Do(t, dial, "SET", "k", "", "PX", 60_000)
		for range 2 {
			h := receive(t, c, soon)
			if h.Nobody() || h.Owner != "" || h.Fence != 0 || h.Remaining <= 0 {
				t.Errorf("saw %+v, want a Holder without Owner and Fence", h)
			}
			// Nobody has acquired with it, so this releases nothing.
			redistest.Do(t, dial, "PUBLISH", "setlock:k", "released ")
			quiet(t, c, 10*time.Millisecond)
			redistest.Do(t, dial, "DEL", "k")
			if h := receive(t, c, soon); !h.Nobody() {
				t.Errorf("after DEL saw %+v, want nobody", h)
			}
			redistest.Do(t, dial, "SET", "k", "")
			if h := receive(t, c, soon); h.Nobody() || h.Remaining >= 0 {
				t.Errorf("saw %+v, want a Holder without expiry", h)
			}
			redistest.Do(t, dial, "SET", "k", "", "PX", 60_000)
			redistest.Do(t, dial, "DEL", "k")
			if h := receive(t, c, soon); !h.Nobody() {
				t.Errorf("after DEL saw %+v, want nobody", h)
			}
			redistest.Do(t, dial, "SET", "k", "", "PX", 60_000)
		}
	})
}

// The zero Holder comes again when the lock was held and released, and the watch has
// seen neither.
func TestWatchTellsOfNobodyAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(lease), w.direct(lease)
		c := watch(t, b)
		receive(t, c, 0)
		synctest.Wait()
		// Of the two announcements, a watch that was slow gets the last.
		w.server.Set("{k}:fence", "1")
		w.server.Publish("setlock:k", "released "+someValue)
		if h := receive(t, c, 0); !h.Nobody() {
			t.Errorf("after a hold that it has not seen saw %+v, want nobody", h)
		}
		// Announcements of what is known, and of nothing.
		for _, message := range []string{"released " + someValue, "acquired 1 1000  " + someValue, "nonsense"} {
			w.server.Publish("setlock:k", message)
			quiet(t, c, lease/10)
		}
		// A fence key that has expired, and a foreign holder that has come and gone.
		w.server.Del("{k}:fence")
		w.server.Publish("setlock:k", "nonsense")
		w.server.Set("k", "foreign")
		w.server.Del("k")
		quiet(t, c, 2*lease)
		// Somebody whom it sees.
		mustLock(t, a, lease)
		if h := receive(t, c, 0); h.Fence != a.Fence() {
			t.Errorf("saw %+v, want fence %d", h, a.Fence())
		}
		if err := a.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if h := receive(t, c, 0); !h.Nobody() {
			t.Errorf("saw %+v, want nobody", h)
		}
		quiet(t, c, 10*lease)
	})
}

// The same where nothing is announced: between two looks.
func TestWatchWithoutPushTellsOfNobodyAgain(t *testing.T) {
	for _, forbidden := range []string{"SUBSCRIBE", "PUBLISH"} {
		t.Run(forbidden, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				redistest.Do(t, w.server.Dial, "PING")
				w.server.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
					if strings.EqualFold(cmd, forbidden) {
						c.WriteError("NOPERM this user has no permissions")
						return true
					}
					return false
				})
				a, b := w.direct(lease), w.direct(lease)
				c := watch(t, b)
				receive(t, c, 0)
				synctest.Wait()
				for range 3 {
					mustLock(t, a, lease)
					if err := a.Unlock(t.Context()); err != nil {
						t.Fatal(err)
					}
					if h := receive(t, c, lease+time.Millisecond); !h.Nobody() {
						t.Errorf("saw %+v, want nobody again", h)
					}
					quiet(t, c, 2*lease)
				}
			})
		})
	}
}

// An acquisition whose caller has left is undone: who lost against it is told.
func TestWatchTellsOfAnUndoneAcquisition(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.lock(lease), w.direct(lease)
		c := watch(t, b)
		receive(t, c, 0)
		mustLock(t, a, lease) // a connection, and the script is known
		receive(t, c, 0)
		if err := a.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		receive(t, c, 0)
		w.network.Set(redistest.Faults{HoldReplies: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Lock(ctx, lease); err == nil {
			t.Fatal("no error, and no reply came")
		}
		// Whether the watch has seen both announcements, or the last.
		for seen := 0; ; seen++ {
			if h := receive(t, c, lease); h.Nobody() {
				break
			} else if seen > 0 {
				t.Errorf("saw %+v, want nobody", h)
			}
		}
	})
}

// A hold that Renew has shortened ends unannounced.
func TestWatchSeesAShortenedHoldEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		a, b := w.direct(lease), w.direct(lease)
		c := watch(t, b)
		receive(t, c, 0)
		for range 3 {
			mustLock(t, a, time.Hour)
			receive(t, c, 0)
			time.Sleep(lease / 3)
			if err := a.Renew(t.Context(), lease/10); err != nil {
				t.Fatal(err)
			}
			if h := receive(t, c, lease+time.Millisecond); !h.Nobody() {
				t.Errorf("saw %+v, want nobody", h)
			}
		}
	})
}
