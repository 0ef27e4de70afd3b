package election

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"testing"

	"github.com/cenkalti/backoff/v4"
)

// A listError cannot be compared.
type listError []string

func (listError) Error() string { return "list" }

func TestOwnError(t *testing.T) {
	cause, other := errors.New("cause"), errors.New("other")
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(fmt.Errorf("%w: %w", cause, io.EOF))
	timedOut, cancelTimedOut := context.WithTimeout(t.Context(), 0)
	defer cancelTimedOut()
	<-timedOut.Done()
	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
		own  bool
	}{
		{"nil", ended, nil, false},
		{"Err", ended, ended.Err(), false},
		{"cause", ended, context.Cause(ended), false},
		{"Err, wrapped", ended, fmt.Errorf("step 3: %w", ended.Err()), false},
		{"cause, wrapped twice", ended, fmt.Errorf("a: %w", fmt.Errorf("b: %w", context.Cause(ended))), false},
		{"Err and cause", ended, errors.Join(ended.Err(), context.Cause(ended)), false},
		{"Err in an error of net/http", ended, &url.Error{Op: "Get", Err: ended.Err()}, false},
		{"Err in an error of net", ended, &net.OpError{Op: "dial", Err: ended.Err()}, false},
		{"Err, permanent", ended, backoff.Permanent(ended.Err()), false},
		{"Err of a deadline", timedOut, os.ErrDeadlineExceeded, true},
		{"deadline", timedOut, context.DeadlineExceeded, false},
		{"deadline while canceled", ended, context.DeadlineExceeded, true},
		{"another", ended, other, true},
		{"another, permanent", ended, backoff.Permanent(other), true},
		{"another, joined with Err", ended, errors.Join(ended.Err(), other), true},
		{"another beside Err", ended, fmt.Errorf("%w: %w", other, ended.Err()), true},
		{"incomparable", ended, listError{"x"}, true},
		{"Err of a context that lives", t.Context(), context.Canceled, true},
		{"nil of a context that lives", t.Context(), nil, false},
	} {
		got := ownError(test.ctx, test.err)
		if (got != nil) != test.own || test.own && fmt.Sprint(got) != fmt.Sprint(test.err) {
			t.Errorf("%s: %v, want %v", test.name, got, test.own)
		}
	}
}
