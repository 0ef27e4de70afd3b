package jobs_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-co-op/gocron/v2"

	"example.com/setlock/election"
	"example.com/setlock/examples/recipes/jobs"
	"example.com/setlock/internal/leaktest"
	"example.com/setlock/setlock"
	"example.com/setlock/setlock/setlocktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// A process has one job, which runs every minute.
type process struct {
	election *election.Election
	stop     func() // ends Run, and waits for its end
}

func start(t *testing.T, srv *setlocktest.Server, job func(ctx context.Context) error) *process {
	t.Helper()
	leader := &jobs.Leader{}
	scheduler, err := gocron.NewScheduler(gocron.WithDistributedElector(leader))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := scheduler.NewJob(gocron.DurationJob(time.Minute), leader.Task(job), gocron.WithSingletonMode(gocron.LimitModeReschedule)); err != nil {
		t.Fatal(err)
	}
	scheduler.Start()
	p := &process{election: &election.Election{
		Lock:      &setlock.Lock{Key: "jobs", Pool: srv.Pool()},
		OnElected: leader.Lead,
	}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.election.Run(ctx) }() // joined by stop
	p.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		ended <- nil // for the next call
	}
	t.Cleanup(func() {
		p.stop()
		if err := scheduler.Shutdown(); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
	return p
}

// counts returns a job that counts the minutes in which it has run. Time stands still in a bubble
// while a job runs, and gocron may then start it twice at the same moment.
func counts(n *atomic.Int64) func(context.Context) error {
	var last atomic.Int64
	return func(context.Context) error {
		if now := time.Now().UnixNano(); last.Swap(now) != now {
			n.Add(1)
		}
		return nil
	}
}

func TestJobsRunOnTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		var byA, byB atomic.Int64
		a := start(t, srv, counts(&byA))
		synctest.Wait() // until a leads
		b := start(t, srv, counts(&byB))
		want := func(when string, wantA, wantB int64) {
			t.Helper()
			if byA.Load() != wantA || byB.Load() != wantB {
				t.Errorf("%s: %d jobs by a and %d by b, want %d and %d", when, byA.Load(), byB.Load(), wantA, wantB)
			}
		}

		time.Sleep(5*time.Minute + time.Second)
		want("a leads", 5, 0)
		srv.CutOff(a.election.Lock.Pool)
		time.Sleep(5 * time.Minute) // b is elected in less than a minute
		want("a is cut off", 5, 5)
		srv.Reconnect(a.election.Lock.Pool)
		time.Sleep(5 * time.Minute)
		want("a is back", 5, 10)
		b.stop()
		time.Sleep(5 * time.Minute)
		want("b has stopped", 10, 10)
		srv.Stop()
		time.Sleep(time.Hour)
		want("Redis is away", 10, 10)
	})
}

// The context of a job carries the fencing token, and ends with the leadership.
func TestJobEndsWithTheLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		var fence atomic.Int64
		ended := make(chan error, 1)
		a := start(t, srv, func(ctx context.Context) error {
			n, _ := setlock.FenceFromContext(ctx)
			fence.Store(n)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil
		})
		time.Sleep(time.Minute + time.Second)
		if n := a.election.Leader().Fence; n == 0 || n != fence.Load() {
			t.Errorf("the job has the fence %d, want %d", fence.Load(), n)
		}
		srv.CutOff(a.election.Lock.Pool)
		time.Sleep(setlock.DefaultLease)
		select {
		case err := <-ended:
			if !errors.Is(err, setlock.ErrLost) {
				t.Errorf("the context of the job ended with %v, want ErrLost", err)
			}
		default:
			t.Error("the context of the job lives longer than the lease")
		}
	})
}

// At shutdown, the lock is released when the job has returned, and not before.
func TestNoReleaseBeforeTheJobHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := setlocktest.NewServer(t)
		const slow = 10 * time.Second // longer than the job needs to hear that it must stop
		var working, overlaps atomic.Int64
		job := func(ctx context.Context) error {
			if working.Add(1) > 1 {
				overlaps.Add(1)
			}
			<-ctx.Done()
			time.Sleep(slow)
			working.Add(-1)
			return nil
		}
		a := start(t, srv, job)
		synctest.Wait() // until a leads
		b := start(t, srv, job)
		time.Sleep(time.Minute + time.Second)
		go a.stop() // joined by the cleanup of a
		time.Sleep(slow - time.Second)
		if b.election.IsLeader() || b.election.Leader().Nobody() {
			t.Error("the lock was released while the job of a runs")
		}
		time.Sleep(2 * time.Second)
		if !b.election.IsLeader() {
			t.Error("b does not lead although the job of a has returned")
		}
		time.Sleep(5 * time.Minute)
		if working.Load() != 1 || overlaps.Load() != 0 {
			t.Errorf("%d jobs run, and %d began while another ran, want 1 and 0", working.Load(), overlaps.Load())
		}
	})
}

// A shutdown of the scheduler alone ends the job, and the process still leads.
func TestSchedulerShutdownEndsTheJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader := &jobs.Leader{}
		scheduler, err := gocron.NewScheduler(gocron.WithDistributedElector(leader))
		if err != nil {
			t.Fatal(err)
		}
		var ended atomic.Bool
		task := leader.Task(func(ctx context.Context) error {
			<-ctx.Done()
			ended.Store(true)
			return nil
		})
		if _, err := scheduler.NewJob(gocron.DurationJob(time.Minute), task); err != nil {
			t.Fatal(err)
		}
		scheduler.Start()
		go leader.Lead(t.Context()) // ends with the context of the test
		time.Sleep(time.Minute + time.Second)
		if err := scheduler.Shutdown(); err != nil {
			t.Error(err)
		}
		if !ended.Load() {
			t.Error("the job still runs after the shutdown of the scheduler")
		}
		if err := leader.IsLeader(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
