package setlock

import (
	"strconv"
	"strings"
	"time"
)

// An announcement is what the acquire and the release script publish:
//
//	acquired <fence> <lease, milliseconds> <fence before> <value>
//	released <value>
//
// Databases of one server share their channels, so it may tell of another
// lock, or be somebody's prank: it is believed only where it continues what
// is known.
type announcement struct {
	acquired bool
	value    string
	fence    int64
	previous string // as it stood in the fence key
	lease    time.Duration
}

// parseAnnouncement reads an announcement; false for anything else.
func parseAnnouncement(s string) (announcement, bool) {
	if value, ok := strings.CutPrefix(s, "released "); ok {
		return announcement{value: value}, true
	}
	fields := strings.SplitN(s, " ", 5)
	if len(fields) < 5 || fields[0] != "acquired" {
		return announcement{}, false
	}
	ms, err := strconv.ParseInt(fields[2], 10, 64)
	fence := parseFence(fields[1])
	if err != nil || ms <= 0 || fence == 0 {
		return announcement{}, false
	}
	return announcement{
		acquired: true,
		value:    fields[4],
		fence:    fence,
		previous: fields[3],
		lease:    remainingTime(ms),
	}, true
}

// nonceLen is the length of what crypto/rand.Text returns, base32 letters.
const nonceLen = 26

// ownerOf returns the owner in the value of a lock key; false if no Lock
// has written it.
func ownerOf(value string) (string, bool) {
	nonce, owner, ok := strings.Cut(value, ":")
	if !ok || len(nonce) != nonceLen || strings.Trim(nonce, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return value, false
	}
	return owner, true
}
