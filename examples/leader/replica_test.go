package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A checks is what Check returns, one after the other.
type checks []func() error

func (c *checks) Check(time.Duration) error {
	next := (*c)[0]
	*c = (*c)[1:]
	return next()
}

// A replica that ends while Redis is away is not well again.
func TestWellAgain(t *testing.T) {
	away, fine := func() error { return errors.New("away") }, func() error { return nil }
	for name, test := range map[string]struct {
		checks int // that return nil before the end
		want   []string
	}{
		"the end":            {0, []string{"is not well and keeps trying: away"}},
		"well, then the end": {1, []string{"is not well and keeps trying: away", "is well again"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				e := checks{fine, away, away}
				for range test.checks {
					e = append(e, fine)
				}
				e = append(e, func() error {
					cancel()
					return nil
				})
				var said []string
				checkUp(ctx, &e, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })
				if !slices.Equal(said, test.want) {
					t.Errorf("said %q, want %q", said, test.want)
				}
			})
		})
	}
}
