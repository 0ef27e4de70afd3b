package election

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// answers says in words what Redis answered, by a part of the answer.
var answers = []struct{ part, words string }{
	{"WRONGPASS ", refusedPassword},
	{"NOAUTH ", refusedPassword},
	{"invalid password", refusedPassword}, // before Redis 6
	{"AUTH <password>", refusedPassword},  // a password where Redis has none
	{"sent AUTH", refusedPassword},        // the same before Redis 6
	{"NOPERM ", "Redis refused the user a right"},
	{"WRONGTYPE ", "a key of the lock has the wrong type"},
	{"OOM ", "Redis is out of memory"},
	{"READONLY ", "Redis is read-only"},
	{"MISCONF ", "Redis cannot save its data, so it accepts no writes"},
	{"LOADING ", "Redis is loading its data"},
	{"MASTERDOWN ", "Redis is a replica without its primary"},
	{"CLUSTERDOWN ", "the Redis Cluster is down"},
	{"MOVED ", "another node of the Redis Cluster has the key"},
	{"ASK ", "the Redis Cluster is moving the key"},
	{"TRYAGAIN ", "the Redis Cluster is moving the key"},
}

const refusedPassword = "Redis refused the password"

// words returns what has happened when a request to Redis has failed because of err, or "" if err
// alone says it.
func words(err error) string {
	var answer redis.Error
	var network net.Error
	switch {
	case errors.As(err, &answer):
		for _, a := range answers {
			if strings.Contains(string(answer), a.part) {
				return a.words
			}
		}
		return "Redis answered with an error"
	case errors.Is(err, redis.ErrPoolExhausted):
		return "the Pool has no free connection"
	case errors.As(err, &network), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "no answer"
	}
	return ""
}
