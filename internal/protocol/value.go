package protocol

import (
	"crypto/rand"
	"os"
	"strconv"
	"strings"
	"sync"
)

// NewValue returns what a new acquisition by owner stores in the lock key: no other
// acquisition stores the same.
func NewValue(owner string) string { return rand.Text() + ":" + owner }

// nonceLen is the length of what rand.Text returns, base32 letters.
const nonceLen = 26

// OwnerOf returns the owner in the value of a lock key. It returns the value itself, and
// false, where no Lock has written it.
func OwnerOf(value string) (string, bool) {
	nonce, owner, ok := strings.Cut(value, ":")
	if !ok || len(nonce) != nonceLen || strings.Trim(nonce, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return value, false
	}
	return owner, true
}

// DefaultOwner returns the owner of a Lock that names none: host:pid.
var DefaultOwner = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
})
