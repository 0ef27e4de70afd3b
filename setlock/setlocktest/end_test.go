package setlocktest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/setlocktest"
)

// A test may end while elections run under its context, whatever the Server does, and at any
// moment of a renewal. The bubble panics if a goroutine remains, or needs time to end: time
// stands still when the function of the bubble has returned.
func TestElectionsEndWithTheTest(t *testing.T) {
	const lease = setlock.DefaultLease
	for name, trouble := range map[string]func(srv *setlocktest.Server, leader *election.Election){
		"works":   func(*setlocktest.Server, *election.Election) {},
		"stopped": func(srv *setlocktest.Server, _ *election.Election) { srv.Stop() },
		"cut off": func(srv *setlocktest.Server, leader *election.Election) { srv.CutOff(leader.Lock.Pool) },
		"refused": func(srv *setlocktest.Server, leader *election.Election) { srv.Refuse(leader.Lock.Pool) },
		"flushed": func(srv *setlocktest.Server, _ *election.Election) { srv.Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			for part := range 24 {
				synctest.Test(t, func(t *testing.T) {
					srv := setlocktest.NewServer(t)
					var all []*election.Election
					for range 2 {
						e := &election.Election{Lock: &setlock.Lock{Key: "k", Pool: srv.Pool()}}
						all = append(all, e)
						go e.Run(t.Context())
						synctest.Wait()
					}
					go func() {
						for range (&setlock.Lock{Key: "k", Pool: srv.Pool()}).Watch(t.Context()) {
						}
					}()
					time.Sleep(lease)
					trouble(srv, all[0])
					time.Sleep(time.Duration(part) * lease / 12)
				})
			}
		})
	}
}
