package election

import (
	"context"
	"errors"
	"reflect"
)

// ownError returns err, the result of OnElected with the context ctx, or nil if err is only that ctx
// has ended.
func ownError(ctx context.Context, err error) error {
	if ctx.Err() == nil || !isEnd(ctx, err) {
		return err
	}
	return nil
}

// isEnd reports whether err is nil, or is nothing but the end of ctx: its Err, its cause, or errors
// that wrap no others than these.
func isEnd(ctx context.Context, err error) bool {
	cause := context.Cause(ctx)
	if err == nil || reflect.TypeOf(err).Comparable() && (err == ctx.Err() || err == cause) {
		return true
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return isEnd(ctx, inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if !isEnd(ctx, inner) {
				return false
			}
		}
		return len(e.Unwrap()) > 0
	}
	// A leaf may say by its method Is what it is.
	return errors.Is(err, ctx.Err()) || errors.Is(err, cause)
}
