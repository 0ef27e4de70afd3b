package wire

import (
	"errors"
	"slices"
	"strings"

	"github.com/gomodule/redigo/redis"
)

var (
	errLeft       = errors.New("the caller has left")
	errNoResult   = errors.New("the call has ended without a result: runtime.Goexit in the Pool's Dial or TestOnBorrow")
	errNoConn     = errors.New("the Pool's Dial returned no connection and no error")
	errPoolClosed = errors.New("the pool is closed")
)

// notServing are the answers of a server that does not serve while another server may: the
// primary has moved, or the server is not ready.
var notServing = []string{"READONLY", "MOVED", "MASTERDOWN", "CLUSTERDOWN", "LOADING"}

// IsAnswer reports whether err is an error that Redis answered. Redis then did not do what
// it was asked.
func IsAnswer(err error) bool {
	_, ok := answer(err)
	return ok
}

// AnsweredWith reports whether err is an error that Redis answered, of one of kinds, such
// as READONLY. Before Redis 7, the error of a script may begin with the script's name, so
// the kind may stand anywhere in the text.
func AnsweredWith(err error, kinds ...string) bool {
	text, ok := answer(err)
	return ok && slices.ContainsFunc(kinds, func(kind string) bool { return strings.Contains(text, kind+" ") })
}

// answer returns the text of an error that Redis answered. It returns false for any other
// error.
func answer(err error) (string, bool) {
	if err == nil {
		return "", false // errors.As would allocate its target
	}
	var answer redis.Error
	ok := errors.As(err, &answer)
	return string(answer), ok
}
