package protocol

import (
	"crypto/rand"
	"os"
	"strconv"
	"strings"
	"sync"
)

// NewValue returns the value that a new acquisition by owner stores in the lock key. No
// other acquisition stores the same value.
func NewValue(owner string) string { return rand.Text() + ":" + owner }

// nonceLen is the number of letters that rand.Text returns. The letters are those of
// base32.
const nonceLen = 26

// OwnerOf returns the owner in the value of a lock key. For a value that no Lock has
// written, it returns the value and false.
func OwnerOf(value string) (string, bool) {
	nonce, owner, ok := strings.Cut(value, ":")
	if !ok || len(nonce) != nonceLen || strings.Trim(nonce, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return value, false
	}
	return owner, true
}

// DefaultOwner returns the owner of a Lock whose Owner is empty: host:pid.
var DefaultOwner = sync.OnceValue(func() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + strconv.Itoa(os.Getpid())
})
