package protocol

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// An Announcement is what the scripts publish when they acquire or release the lock:
//
//	acquired <fence> <lease, milliseconds> <fence before> <value>
//	released <value>
//
// Databases of one server share their channels, and anybody may publish: an
// announcement may be of another lock, or made up. It is believed only where it
// continues what is known.
type Announcement struct {
	Acquired bool
	Value    string

	// Of an acquisition:
	Fence    int64
	Previous string // the fence before, as it was in the fence key
	Lease    time.Duration
}

func (a Announcement) String() string {
	if !a.Acquired {
		return "released " + a.Value
	}
	return fmt.Sprintf("acquired %d %d %s %s", a.Fence, Milliseconds(a.Lease), a.Previous, a.Value)
}

// ParseAnnouncement reads an announcement. It returns false for anything else.
func ParseAnnouncement(message string) (Announcement, bool) {
	if value, ok := strings.CutPrefix(message, "released "); ok {
		return Announcement{Value: value}, true
	}
	fields := strings.SplitN(message, " ", 5)
	if len(fields) < 5 || fields[0] != "acquired" {
		return Announcement{}, false
	}
	ms, err := strconv.ParseInt(fields[2], 10, 64)
	fence := ParseFence(fields[1])
	if err != nil || ms <= 0 || fence == 0 {
		return Announcement{}, false
	}
	return Announcement{
		Acquired: true,
		Value:    fields[4],
		Fence:    fence,
		Previous: fields[3],
		Lease:    RemainingTime(ms),
	}, true
}

// ParseFence reads a fencing token as it is in a fence key. It returns 0 for anything else.
func ParseFence(s string) int64 {
	fence, err := strconv.ParseInt(s, 10, 64)
	if err != nil || fence < 0 || s[0] == '+' {
		return 0
	}
	return fence
}
