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

// astray are the answers of a server that does not serve, while another one may: the
// primary has moved, or is not ready.
var astray = []string{"READONLY", "MOVED", "MASTERDOWN", "CLUSTERDOWN", "LOADING"}

// IsAnswer reports whether err is an answer of Redis: it did not do what it was asked.
func IsAnswer(err error) bool {
	_, ok := answer(err)
	return ok
}

// AnsweredWith reports whether err is an answer of Redis of one of the given kinds, such as
// READONLY. Before Redis 7, the answer of a script may begin with the script's name.
func AnsweredWith(err error, kinds ...string) bool {
	text, ok := answer(err)
	return ok && slices.ContainsFunc(kinds, func(kind string) bool { return strings.Contains(text, kind+" ") })
}

func answer(err error) (string, bool) {
	if err == nil {
		return "", false // errors.As would allocate its target
	}
	var answer redis.Error
	ok := errors.As(err, &answer)
	return string(answer), ok
}
