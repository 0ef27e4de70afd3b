package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// calm is how long a leader leads before a story does something to it.
	calm = 5 * countEvery / 4
	// slack is how much longer than promised a step may take on a busy machine.
	slack = 3 * time.Second
)

// A stage is where stories are told.
type stage struct {
	ctx   context.Context
	d     *demo
	views <-chan *view
	name  string // of the story
}

// say prints a line of the story.
func (s *stage) say(format string, args ...any) { s.d.out.line(s.name, format, args...) }

// do has the demo do something.
func (s *stage) do(verb, id string) error { return s.d.do(order{verb: verb, id: id}) }

// wait waits for so long.
func (s *stage) wait(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// leader returns the state when a leader has led for a while and all replicas are well.
func (s *stage) leader() (*view, error) {
	well := func(v *view) bool {
		for _, r := range v.Replicas {
			if !r.Runs || r.Paused || r.Cut {
				return false
			}
		}
		return v.Leader != "" && len(v.Terms) > 0 && v.Now-v.Terms[len(v.Terms)-1].Spans[0].From >= calm.Milliseconds()
	}
	return s.await("a leader, and all replicas well", s.d.lease+calm, well)
}

// another returns the state when another replica leads than before.
func (s *stage) another(before *view, within time.Duration) (*view, error) {
	return s.await("another leader", within, func(v *view) bool { return v.Leader != "" && v.Leader != before.Leader })
}

// await returns the first state that is as wanted. It waits for it as long as promised, and a little
// longer.
func (s *stage) await(what string, promised time.Duration, wanted func(*view) bool) (*view, error) {
	timer := time.NewTimer(promised + slack)
	defer timer.Stop()
	for {
		select {
		case v := <-s.views:
			if wanted(v) {
				return v, nil
			}
		case <-timer.C:
			return nil, fmt.Errorf("waited %v for this: %s", promised+slack, what)
		case <-s.ctx.Done():
			return nil, context.Cause(s.ctx)
		}
	}
}

// fence returns the fence of the term that began last.
func (v *view) fence() int64 { return v.Terms[len(v.Terms)-1].Fence }

// ended reports whether the term that was the last in before has ended.
func (v *view) ended(before *view) bool {
	for _, t := range v.Terms {
		if t.Fence == before.fence() {
			return !t.Open
		}
	}
	return true
}
