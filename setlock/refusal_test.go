package setlock_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/setlock"
)

// Redis refuses some renewals of a batch. These are retried within a twentieth of the lease on
// another connection, and the others count. The connection is not given back to the Pool if the
// server does not serve.
func TestSomeRenewalsAreRefused(t *testing.T) {
	for answer, kept := range map[string]bool{
		"READONLY You can't write against a read only replica.": false,
		"LOADING Redis is loading the dataset in memory":        false,
		"MISCONF Redis is configured to save RDB snapshots":     true,
	} {
		t.Run(strings.Fields(answer)[0], func(t *testing.T) {
			inCrowd(t, 100, 0, func(t *testing.T, w *locktest.World, locks []*setlock.Lock, c *locktest.Crowd) {
				refused := make(map[string]bool)
				for i, l := range locks {
					refused[l.Key] = i%3 == 0
				}
				renewals := w.Server.Requests("renew")
				first := time.Now().Add(lease / 20)
				w.Server.Answer(func(c *server.Peer, args []string) bool {
					if !refused[locktest.KeyOf(args)] || time.Now().After(first) {
						return false
					}
					c.WriteError(answer)
					return true
				}, "renew")
				time.Sleep(lease / 20)
				synctest.Wait()
				batch := renewals()
				if len(batch) != len(locks) {
					t.Fatalf("%d renewals, want %d", len(batch), len(locks))
				}
				for key, no := range refused {
					if left := w.Server.TTL(key); left == lease == no {
						t.Errorf("%s lives %v, and its renewal was refused: %v", key, left, no)
					}
				}

				time.Sleep(lease / 20)
				synctest.Wait()
				retried := make(map[string]bool)
				for _, r := range renewals()[len(batch):] {
					if refused[r.Key] && !retried[r.Key] {
						retried[r.Key] = true
						if r.Conn == batch[0].Conn {
							t.Errorf("%s was retried on the same connection", r.Key)
						}
					}
				}
				for key, no := range refused {
					if no && !retried[key] {
						t.Errorf("%s was not retried within %v", key, lease/20)
					}
				}

				time.Sleep(lease)
				again := false
				for _, r := range renewals()[len(batch):] {
					again = again || r.Conn == batch[0].Conn
				}
				if again != kept {
					t.Errorf("the connection was used again: %v, want %v", again, kept)
				}
				c.MustLose("a lease later")
			})
		})
	}
}
