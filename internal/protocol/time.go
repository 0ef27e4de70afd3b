package protocol

import (
	"math"
	"time"
)

// What PTTL returns when there is no remaining time.
const (
	pttlNoExpiry = -1
	pttlNoKey    = -2
)

// RemainingTime returns, as a duration, what PTTL has returned for an existing key. The
// duration is never 0: less than a millisecond counts as one, and no expiry is negative.
func RemainingTime(pttl int64) time.Duration {
	if pttl == pttlNoExpiry {
		return -time.Millisecond
	}
	const most = int64(math.MaxInt64) / int64(time.Millisecond)
	return time.Duration(min(max(pttl, 1), most)) * time.Millisecond
}

// Milliseconds returns d in whole milliseconds, as Redis takes it: rounded up, at least 1.
func Milliseconds(d time.Duration) int64 {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++
	}
	return max(ms, 1)
}
