package setlock

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/seam"
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
	// returned, and is the cause of that function's context. Test for it with
	// [errors.Is].
	ErrLost = errors.New("setlock: lock lost")
)

// Why a term was lost: each is joined to ErrLost.
var (
	errTaken     = errors.New("the key is not ours any more")
	errReplaced  = errors.New("the key had gone, and this Lock has acquired it anew")
	errReleased  = errors.New("released by Unlock")
	errUntrusted = errors.New("no renewal has succeeded in time")
	errLate      = errors.New("the reply came too late to be trusted")
)

// misuseError says what is wrong with a Lock.
type misuseError string

func (e misuseError) Error() string { return string(e) }

func (e misuseError) Is(target error) bool { return target == seam.ErrMisuse }

// fail names the operation and the key that err belongs to.
func (l *Lock) fail(op string, err error) error {
	// The context of the caller may be that of another Lock's Do, and its cause the loss
	// of that lock.
	var lost *lostError
	if errors.As(err, &lost) && lost.lock != l {
		err = endedError(err.Error())
	}
	return fmt.Errorf("setlock: %s %q: %w", op, l.Key, err)
}

// An endedError says why the context of a call ended, without being the loss of
// this lock.
type endedError string

func (e endedError) Error() string { return string(e) }

func (e endedError) Unwrap() error { return context.Canceled }

// check returns an error if the fields of l do not make a lock.
func (l *Lock) check(op string) error {
	var wrong misuseError
	switch {
	case l.Key == "":
		wrong = "no Key"
	case l.Pool == nil:
		wrong = "no Pool"
	case l.Pool.Dial == nil && l.Pool.DialContext == nil:
		wrong = "a Pool without Dial or DialContext"
	case l.Lease < 0 || l.Lease > 0 && l.Lease < MinLease || l.Lease > MaxLease:
		wrong = misuseError(fmt.Sprintf("Lease %v is not 0 (for %v) or %v to %v", l.Lease, DefaultLease, MinLease, MaxLease))
	case l.Replicas < 0:
		wrong = misuseError(fmt.Sprintf("Replicas %d is negative", l.Replicas))
	default:
		return nil
	}
	return l.fail(op, wrong)
}

// isAnswer reports whether err is an answer of Redis: it did not do what it was asked.
func isAnswer(err error) bool {
	if err == nil {
		return false
	}
	var answer redis.Error
	return errors.As(err, &answer)
}

// isAstray reports whether err is an answer of a server that does not serve, while another
// one may: the primary has moved, or is not there yet.
func isAstray(err error) bool {
	if err == nil {
		return false
	}
	for _, kind := range []string{"READONLY", "MOVED", "MASTERDOWN", "CLUSTERDOWN", "LOADING"} {
		if refusedWith(err, kind) {
			return true
		}
	}
	return false
}

// refusedWith reports whether err is an answer of Redis of the given kind, such as
// READONLY. Before Redis 7, a script puts its place in front of some.
func refusedWith(err error, kind string) bool {
	if err == nil {
		return false // for errors.As has answer allocated
	}
	var answer redis.Error
	return errors.As(err, &answer) && strings.Contains(string(answer), kind+" ")
}
