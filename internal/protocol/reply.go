package protocol

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrReply is in the error for a reply that the command cannot have.
var ErrReply = errors.New("unexpected reply")

// An Outcome is what acquire.lua has done or found.
type Outcome int64

// The first integer that acquire.lua returns.
const (
	Acquired Outcome = 1 // the lock was free, or an orphan held it
	Mine     Outcome = 2 // the caller holds the lock already
	Other    Outcome = 3 // another holder has the lock
)

// notMine is what the other scripts return when the value in the lock key is not the
// caller's.
const notMine = 0

// An Acquisition is the reply to an Acquire.
type Acquisition struct {
	Outcome   Outcome
	Fence     int64         // with Acquired
	Previous  int64         // with Acquired: the fence before this one, 0 for none
	Remaining time.Duration // with Mine and Other: of the key; never 0, negative without expiry
}

// ParseAcquire reads the reply to an Acquire.
func ParseAcquire(reply any) (Acquisition, error) {
	values, _ := reply.([]any)
	var n [3]int64
	if len(values) == 2 || len(values) == 3 {
		ok := true
		for i, v := range values {
			number, isNumber := v.(int64)
			n[i], ok = number, ok && isNumber
		}
		switch outcome := Outcome(n[0]); {
		case !ok:
		case len(values) == 3 && outcome == Acquired && n[1] > n[2] && n[2] >= 0:
			return Acquisition{Outcome: outcome, Fence: n[1], Previous: n[2]}, nil
		case len(values) == 2 && (outcome == Mine || outcome == Other):
			return Acquisition{Outcome: outcome, Remaining: RemainingTime(n[1])}, nil
		}
	}
	return Acquisition{}, unexpected(reply)
}

// ParseRenew reads the reply to a Renew. It returns whether the lock is still the caller's.
func ParseRenew(reply any) (mine bool, err error) {
	n, err := parseInt(reply, 1)
	return n != notMine, err
}

// ParseExtend reads the reply to an Extend. It returns the new remaining time, or false
// when the lock is not the caller's any more.
func ParseExtend(reply any) (remaining time.Duration, mine bool, err error) {
	n, err := parseInt(reply, math.MaxInt64)
	if err != nil || n == notMine {
		return 0, false, err
	}
	return RemainingTime(n), true, nil
}

// ParseRelease reads the reply to a Release. It returns whether the lock was the caller's.
func ParseRelease(reply any) (released bool, err error) {
	n, err := parseInt(reply, 1)
	return n != notMine, err
}

// Wrote reports whether reply, to any of the scripts that write, means that the script
// changed the lock.
func Wrote(reply any) bool {
	if _, ok := reply.([]any); ok {
		a, err := ParseAcquire(reply)
		return err == nil && a.Outcome == Acquired
	}
	return reply != int64(notMine)
}

// ParseWait reads the reply to a Wait. It returns how many replicas have confirmed.
func ParseWait(reply any) (int64, error) { return parseInt(reply, math.MaxInt64) }

// An Observation is the reply to a Look.
type Observation struct {
	Held      bool
	Remaining time.Duration // never 0; negative without expiry
	Value     string        // of the lock key
	Fence     string        // the content of the fence key; "" for no key or one of another type
}

// ParseLook reads the reply to a Look.
func ParseLook(reply any) (Observation, error) {
	values, _ := reply.([]any)
	if len(values) == 3 {
		pttl, ok1 := values[0].(int64)
		fence, ok2 := values[1].([]byte)
		value, ok3 := values[2].([]byte)
		if ok1 && ok2 && ok3 {
			if pttl == pttlNoKey {
				return Observation{Fence: string(fence)}, nil
			}
			return Observation{Held: true, Remaining: RemainingTime(pttl), Value: string(value), Fence: string(fence)}, nil
		}
	}
	return Observation{}, unexpected(reply)
}

// parseInt reads a reply that is notMine or an integer up to most.
func parseInt(reply any, most int64) (int64, error) {
	n, ok := reply.(int64)
	if !ok || n < notMine || n > most {
		return 0, unexpected(reply)
	}
	return n, nil
}

func unexpected(reply any) error { return fmt.Errorf("%w %.100q", ErrReply, fmt.Sprint(reply)) }
