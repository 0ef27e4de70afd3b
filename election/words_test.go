package election

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/gomodule/redigo/redis"
)

// What servers, and the network, have said.
func TestWords(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{io.EOF, "no answer"},
		{io.ErrUnexpectedEOF, "no answer"},
		{context.DeadlineExceeded, "no answer"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, "no answer"},
		{syscall.ECONNRESET, "no answer"},
		{&net.DNSError{Name: "redis.example", Err: "no such host"}, "no answer"},
		{net.ErrClosed, "no answer"},
		{redis.ErrPoolExhausted, "the Pool has no free connection"},
		{redis.Error("WRONGPASS invalid username-password pair or user is disabled."), refusedPassword},
		{redis.Error("NOAUTH Authentication required."), refusedPassword},
		{redis.Error("ERR invalid password"), refusedPassword},
		{redis.Error("ERR Client sent AUTH, but no password is set"), refusedPassword},
		{redis.Error("ERR AUTH <password> called without any password configured for the default user."), refusedPassword},
		{redis.Error("NOPERM this user has no permissions to run the 'eval' command"), "Redis refused the user a right"},
		{redis.Error("WRONGTYPE Operation against a key holding the wrong kind of value"), "a key of the lock has the wrong type"},
		{redis.Error("OOM command not allowed when used memory > 'maxmemory'."), "Redis is out of memory"},
		{redis.Error("-OOM command not allowed when used memory > 'maxmemory'."), "Redis is out of memory"},
		{redis.Error("ERR Error running script (call to f_1): @user_script: 1: -READONLY You can't write against a read only replica."), "Redis is read-only"},
		{redis.Error("LOADING Redis is loading the dataset in memory"), "Redis is loading its data"},
		{redis.Error("ERR foreign value in the fence key {k}:fence"), "Redis answered with an error"},
		{errors.New("confirmed by 0 of 1 replicas"), ""},
	} {
		for _, err := range []error{test.err, fmt.Errorf("setlock: do %q: %w", "k", test.err)} {
			if got := words(err); got != test.want {
				t.Errorf("words(%v) = %q, want %q", err, got, test.want)
			}
		}
	}
}
