package locktest

import (
	"context"
	"errors"
	"testing"
	"time"

	"example.com/setlock/setlock"
)

// MustDo fails t unless a Do of l with f returns nil.
func MustDo(t testing.TB, l *setlock.Lock, f setlock.DoFunc) {
	t.Helper()
	if err := l.Do(t.Context(), f); err != nil {
		t.Errorf("Do = %v, want nil", err)
	}
}

// MustLose fails t unless a Do of l with f loses the lock. It returns the error of the Do.
func MustLose(t testing.TB, l *setlock.Lock, f setlock.DoFunc) error {
	t.Helper()
	err := l.Do(t.Context(), f)
	if !errors.Is(err, setlock.ErrLost) {
		t.Errorf("Do = %v, want ErrLost", err)
	}
	return err
}

// NotCalled is for a Do that must not call its function.
func NotCalled(t testing.TB) setlock.DoFunc {
	return func(context.Context) error {
		t.Error("Do has called its function")
		return nil
	}
}

// UntilLost blocks until ctx has ended, which must be a loss, and returns when it did.
func UntilLost(t testing.TB, ctx context.Context) time.Time {
	t.Helper()
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, setlock.ErrLost) {
		t.Errorf("the context ended with the cause %v, want ErrLost", cause)
	}
	return time.Now()
}

// TimesOut fails t unless call fails because its context ends after d. It returns how long call took.
func TimesOut(t testing.TB, d time.Duration, call func(ctx context.Context) error) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the call = %v, want a timeout", err)
	}
	return time.Since(start)
}

// Acquires returns a call that acquires l for d, for [TimesOut].
func Acquires(l *setlock.Lock, d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := l.Lock(ctx, d)
		return err
	}
}
