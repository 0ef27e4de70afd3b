package setlock

import (
	"context"
	"errors"
	"fmt"

	"example.com/setlock/internal/protocol"
)

var (
	// ErrAlreadyHeld is returned by Lock and Do when this Lock already holds the key. It is
	// returned as this very value, never wrapped.
	ErrAlreadyHeld = errors.New("setlock: already held")

	// ErrNotHeld is returned by Lock and Do when another holder has the key, and by Extend,
	// Renew and Unlock when this Lock does not hold the key. It is returned as this very
	// value, never wrapped.
	ErrNotHeld = errors.New("setlock: not held")

	// ErrLost is in the error of a Do that lost the lock before its function returned, and
	// in the cause of the function's context. Test for it with [errors.Is].
	ErrLost = errors.New("setlock: lock lost")

	// ErrInvalid is in the error of a call when no retry can help: the Lock has no Key, no
	// Pool, or a Pool without Dial and DialContext, a field is out of range, or the function
	// given to Do is nil. Test for it with [errors.Is].
	ErrInvalid = errors.New("setlock: invalid Lock")
)

// The reasons of a loss. A lostError has one of them beside ErrLost.
var (
	errTaken     = errors.New("the key is not ours any more")
	errReplaced  = errors.New("the key was gone, and this Lock has acquired it again")
	errReleased  = errors.New("released by Unlock")
	errUntrusted = errors.New("no renewal has succeeded in time")
	errLate      = errors.New("the reply came too late to be trusted")
)

// A lostError is an ErrLost with the reason of the loss.
type lostError struct {
	keys   *protocol.Keys // of the Lock that was lost; compared by address
	reason error
}

func (e *lostError) Error() string { return fmt.Sprintf("%v: %q: %v", ErrLost, e.keys.Key, e.reason) }

func (e *lostError) Unwrap() []error { return []error{ErrLost, e.reason} }

// An invalidError is an ErrInvalid that describes what is wrong with a Lock.
type invalidError string

func (e invalidError) Error() string { return string(e) }

func (e invalidError) Is(target error) bool { return target == ErrInvalid }

// An endedError is the text of a cause of a context that is not this Lock's loss. It wraps
// context.Canceled.
type endedError string

func (e endedError) Error() string { return string(e) }

func (e endedError) Unwrap() error { return context.Canceled }

// failure wraps err with the operation and the key of the Lock that has keys.
func failure(op string, keys *protocol.Keys, err error) error {
	// The caller's context may be the context of another Lock's Do. When the other Lock is
	// lost, the cause of this context is an ErrLost. This Lock was not lost, so its error
	// must not be an ErrLost.
	var lost *lostError
	if errors.As(err, &lost) && lost.keys != keys {
		err = endedError(err.Error())
	}
	return fmt.Errorf("setlock: %s %q: %w", op, keys.Key, err)
}
