package setlocktest_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/election"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/setlocktest"
)

// An election survives what a Server can do to it, and ends with its context, after the Server.
func TestTroubles(t *testing.T) {
	const lease = setlock.DefaultLease
	for name, test := range map[string]struct {
		trouble func(srv *setlocktest.Server, leader *redis.Pool)
		stays   bool // the leader
	}{
		"stopped shortly": {func(srv *setlocktest.Server, _ *redis.Pool) {
			srv.Stop()
			time.Sleep(lease/3 - time.Second)
			srv.Start()
		}, true},
		"stopped for longer": {func(srv *setlocktest.Server, _ *redis.Pool) {
			srv.Stop()
			time.Sleep(lease)
			srv.Start()
		}, false},
		"data lost":      {func(srv *setlocktest.Server, _ *redis.Pool) { srv.Flush() }, false},
		"lock expired":   {func(srv *setlocktest.Server, _ *redis.Pool) { srv.Expire("k") }, false},
		"leader cut off": {func(srv *setlocktest.Server, leader *redis.Pool) { srv.CutOff(leader) }, false},
		"leader refused": {func(srv *setlocktest.Server, leader *redis.Pool) { srv.Refuse(leader) }, false},
		"nothing":        {func(*setlocktest.Server, *redis.Pool) {}, true},
		"cut off shortly": {func(srv *setlocktest.Server, leader *redis.Pool) {
			srv.CutOff(leader)
			time.Sleep(lease/3 - time.Second)
			srv.Reconnect(leader)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var runs sync.WaitGroup
				t.Cleanup(runs.Wait) // after the end of the server
				srv := setlocktest.NewServer(t)
				fences := make(chan int64, 100)
				var all []*election.Election
				for range 3 {
					e := &election.Election{
						Lock: &setlock.Lock{Key: "k", Pool: srv.Pool()},
						OnElected: func(ctx context.Context) error {
							fence, _ := setlock.FenceFromContext(ctx)
							fences <- fence
							<-ctx.Done()
							return nil
						},
					}
					all = append(all, e)
					runs.Go(func() {
						if err := e.Run(t.Context()); err != nil {
							t.Errorf("Run = %v", err)
						}
					})
				}
				time.Sleep(time.Minute)
				before := leaders(all)
				if len(before) != 1 {
					t.Fatalf("%d lead, want 1", len(before))
				}
				test.trouble(srv, before[0].Lock.Pool)
				time.Sleep(2 * lease)
				after := leaders(all)
				if len(after) != 1 {
					t.Fatalf("%d lead after the trouble, want 1", len(after))
				}
				first := <-fences
				if stays := len(fences) == 0; stays != test.stays {
					t.Errorf("the leader stays: %v, want %v", stays, test.stays)
				}
				for len(fences) > 0 {
					next := <-fences
					if next <= first {
						t.Errorf("fence %d after %d", next, first)
					}
					first = next
				}
			})
		})
	}
}

// leaders returns those of all that lead.
func leaders(all []*election.Election) (leading []*election.Election) {
	for _, e := range all {
		if e.IsLeader() {
			leading = append(leading, e)
		}
	}
	return leading
}
