package election_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"

	"example.com/setlock/setlock"
)

// Run's result when its ctx ends.

// A stopping pace ends a context, and stops.
type stopping struct{ cancel context.CancelFunc }

func (s stopping) Reset() {}

func (s stopping) NextBackOff() time.Duration {
	s.cancel()
	return backoff.Stop
}

// The pace stops as ctx ends: the error of OnElected is not lost.
func TestPaceThatStopsAsCtxEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		failure := errors.New("failure")
		e := w.candidate("a", func(context.Context) error { return failure })
		e.BackOff = func() backoff.BackOff { return stopping{cancel} }
		if err := e.Run(ctx); err != failure {
			t.Errorf("Run = %v, want %v", err, failure)
		}
	})
}

// The cause of ctx is an invalid Lock, which is not the Election's.
func TestCtxThatEndsByAnInvalidLock(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancelCause(t.Context())
		_, invalid := (&setlock.Lock{}).Lock(ctx, time.Second)
		if !errors.Is(invalid, setlock.ErrInvalid) {
			t.Fatalf("Lock of an invalid Lock = %v, want ErrInvalid", invalid)
		}
		cancel(invalid)
		if err := w.candidate("a", nil).Run(ctx); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	})
}
