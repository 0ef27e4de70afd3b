// Package jobs is a recipe: jobs of gocron that run only on the leader.
package jobs

import (
	"context"
	"errors"
	"sync"

	"github.com/go-co-op/gocron/v2"
)

var errFollower = errors.New("this process does not lead")

// A Leader tells gocron whether this process leads. Its method Lead is the OnElected of the
// election, its Task makes the task of every job, and the Leader itself is given to
// [gocron.WithDistributedElector].
type Leader struct {
	mu   sync.Mutex
	term context.Context // of OnElected; nil when this process does not lead
	jobs sync.WaitGroup
}

var _ gocron.Elector = (*Leader)(nil)

// Lead lets jobs run until ctx ends. It returns when all jobs have returned, because the lock is
// released then, and jobs of the next leader may run.
func (l *Leader) Lead(ctx context.Context) error {
	l.mu.Lock()
	l.term = ctx
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	l.term = nil // no job begins after this
	l.mu.Unlock()
	l.jobs.Wait()
	return nil
}

// IsLeader implements [gocron.Elector]. gocron calls it before each run of a job.
func (l *Leader) IsLeader(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == nil || l.term.Err() != nil {
		return errFollower
	}
	return nil
}

// Task returns a task for f. gocron asks the Elector only before a run, so the context of f also ends
// when the leadership ends, or when the scheduler shuts down. It carries the fencing token.
//
// Without [gocron.WithSingletonMode], gocron begins a run while the run before it has not ended.
func (l *Leader) Task(f func(ctx context.Context) error) gocron.Task {
	return gocron.NewTask(func(scheduler context.Context) error {
		term := l.join()
		if term == nil {
			return errFollower
		}
		defer l.jobs.Done()
		ctx, cancel := context.WithCancelCause(term)
		defer cancel(nil)
		defer context.AfterFunc(scheduler, func() { cancel(context.Cause(scheduler)) })()
		return f(ctx)
	})
}

// join returns the context of the leadership, and counts a job that Lead waits for. It returns nil
// if this process does not lead.
func (l *Leader) join() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == nil || l.term.Err() != nil {
		return nil
	}
	l.jobs.Add(1)
	return l.term
}
