package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"example.com/setlock/election"
	"example.com/setlock/examples/leader/internal/timeline"
	"example.com/setlock/setlock"
)

// terms records the terms of one replica, in the process of this replica.
type terms struct {
	id  string
	out *printer

	// Only the goroutine of Run uses these until Run has returned.
	won int
	led time.Duration
}

// of returns work as an OnElected that records its term. The end of the term is recorded before
// OnElected returns, so no other replica can be elected before, unless the lock was lost.
func (t *terms) of(work func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		fence, _ := setlock.FenceFromContext(ctx)
		elected := t.out.record(timeline.Event{Who: t.id, Kind: timeline.Elected, Fence: fence, Text: "is elected"})
		ctx, cancel := context.WithCancelCause(ctx)
		told := make(chan timeline.Event)
		go func() { // joined below
			<-ctx.Done()
			now := time.Now()
			told <- t.out.record(timeline.Event{Time: now, Who: t.id, Kind: timeline.Told, Fence: fence, Text: why(context.Cause(ctx))})
		}()
		err := work(ctx)
		cancel(err)
		t.won++
		t.led += (<-told).Time.Sub(elected.Time)
		return err
	}
}

// tell prints an event of this replica.
func (t *terms) tell(e timeline.Event) timeline.Event {
	e.Who = t.id
	return t.out.tell(e)
}

// judge prints the verdict of this replica.
func (t *terms) judge() {
	times := fmt.Sprintf("%d times", t.won)
	if t.won == 1 {
		times = "once"
	}
	t.tell(timeline.Event{Kind: timeline.Judgment, Text: fmt.Sprintf(
		"verdict: led %s, %v in all; what the others did is not known here", times, t.led.Round(time.Millisecond))})
}

// why says in few words why a term ended.
func why(cause error) string {
	switch {
	case errors.Is(cause, election.ErrResigned):
		return "resigned"
	case errors.Is(cause, errStale):
		return "had its write refused"
	case errors.Is(cause, setlock.ErrLost):
		return "lost the lock"
	}
	return "was shut down"
}
