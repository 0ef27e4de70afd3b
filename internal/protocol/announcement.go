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
// An announcement may come from another lock or be made up, because the databases of one
// server share their channels, and anybody may publish. So it is believed only where it
// continues what is known.
type Announcement struct {
	Acquired bool
	Value    string

	// Only for an acquisition:
	Fence    int64
	Previous string // the fence before this one, as it was in the fence key
	Lease    time.Duration
}

func (a Announcement) String() string {
	if !a.Acquired {
		return "released " + a.Value
	}
	return fmt.Sprintf("acquired %d %d %s %s", a.Fence, Milliseconds(a.Lease), a.Previous, a.Value)
}

// Announcement returns the announcement of a, which is an acquisition for d that stored
// value.
func (a Acquisition) Announcement(value string, d time.Duration) Announcement {
	return Announcement{Acquired: true, Value: value, Fence: a.Fence, Previous: strconv.FormatInt(a.Previous, 10), Lease: d}
}

// ParseAnnouncement reads an announcement. For any other message it returns false.
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

// ParseFence reads the content of a fence key. It returns 0 for anything that is not a
// fencing token.
func ParseFence(s string) int64 {
	fence, err := strconv.ParseInt(s, 10, 64)
	if err != nil || fence < 0 || s[0] == '+' {
		return 0
	}
	return fence
}
