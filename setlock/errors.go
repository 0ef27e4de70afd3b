package setlock

import (
	"context"
	"errors"
	"fmt"

	"example.com/setlock/internal/protocol"
)

var (
	// ErrAlreadyHeld is returned by Lock and Do when this Lock holds the key
	// already. It is returned as itself, never wrapped.
	ErrAlreadyHeld = errors.New("setlock: already held")

	// ErrNotHeld is returned by Lock and Do when another holds the key, and by
	// Extend, Renew and Unlock when this Lock does not hold it. It is
	// returned as itself, never wrapped.
	ErrNotHeld = errors.New("setlock: not held")

	// ErrLost is in the error of a Do that lost the lock before its function
	// returned, and in the cause of that function's context. Test for it with
	// [errors.Is].
	ErrLost = errors.New("setlock: lock lost")

	// ErrInvalid is in the error of every call of a Lock that no retry mends: it has no
	// Key or no Pool, or a field is out of range. Test for it with [errors.Is].
	ErrInvalid = errors.New("setlock: invalid Lock")
)

// Why a session was lost: each is joined to ErrLost.
var (
	errTaken     = errors.New("the key is not ours any more")
	errReplaced  = errors.New("the key had gone, and this Lock has acquired it anew")
	errReleased  = errors.New("released by Unlock")
	errUntrusted = errors.New("no renewal has succeeded in time")
	errLate      = errors.New("the reply came too late to be trusted")
)

// A lostError says why a session was lost.
type lostError struct {
	keys   *protocol.Keys // of the Lock
	reason error
}

func (e *lostError) Error() string { return fmt.Sprintf("%v: %q: %v", ErrLost, e.keys.Key, e.reason) }

func (e *lostError) Unwrap() []error { return []error{ErrLost, e.reason} }

// An invalidError says what is wrong with a Lock.
type invalidError string

func (e invalidError) Error() string { return string(e) }

func (e invalidError) Is(target error) bool { return target == ErrInvalid }

// An endedError says why the context of a call ended.
type endedError string

func (e endedError) Error() string { return string(e) }

func (e endedError) Unwrap() error { return context.Canceled }

// failure names the operation, and the key of the Lock with these keys, that err belongs to.
func failure(op string, keys *protocol.Keys, err error) error {
	// The context of the caller may be that of another Lock's Do, and its cause the loss of
	// that lock. That is no loss of this one.
	var lost *lostError
	if errors.As(err, &lost) && lost.keys != keys {
		err = endedError(err.Error())
	}
	return fmt.Errorf("setlock: %s %q: %w", op, keys.Key, err)
}
