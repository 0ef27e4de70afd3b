package setlock_test

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/locktest"
	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

// The rights that docs/redis.md lists, for the key k.
var rights = func() []string {
	text, err := os.ReadFile("../docs/redis.md")
	if err != nil {
		panic(err)
	}
	_, line, _ := strings.Cut(string(text), "ACL SETUSER app on >secret ")
	line, _, _ = strings.Cut(line, "\n")
	return strings.Fields(strings.ReplaceAll(line, "scheduler", "k"))
}()

// as dials the server as a user with some rights.
func as(t *testing.T, s *redistest.Server, rights []string) redistest.Dialer {
	args := []any{"SETUSER", "app", "reset", "on", ">secret"}
	for _, right := range rights {
		args = append(args, right)
	}
	redistest.Do(t, s.Dial, "ACL", args...)
	return func(ctx context.Context) (net.Conn, error) {
		conn, err := s.Dial(ctx)
		if err != nil {
			return nil, err
		}
		if _, err := redis.NewConn(conn, time.Second, time.Second).Do("AUTH", "app", "secret"); err != nil {
			conn.Close()
			return nil, err
		}
		conn.SetDeadline(time.Time{})
		return conn, nil
	}
}

// everything makes every call with some rights, and returns the errors by operation. It leaves no key.
func everything(t *testing.T, s *redistest.Server, rights []string) map[string]error {
	defer redistest.Do(t, s.Dial, "DEL", "k") // the release may have failed
	ctx := t.Context()
	l := &setlock.Lock{Key: "k", Pool: redistest.Pool(t, as(t, s, rights)), Lease: time.Second}
	failed := make(map[string]error)
	try := func(op string, err error) {
		if err != nil {
			failed[op] = err
		}
	}
	_, err := l.Lock(ctx, time.Minute)
	try("lock", err)
	if err == nil {
		try("extend", l.Extend(ctx, time.Minute))
		try("renew", l.Renew(ctx, time.Minute))
	}
	_, err = l.Holder(ctx)
	try("holder", err)
	if l.Fence() != 0 {
		try("unlock", l.Unlock(ctx))
	}
	if len(failed) == 0 {
		try("do", l.Do(ctx, func(ctx context.Context) error {
			select {
			case <-ctx.Done():
			case <-time.After(400 * time.Millisecond):
			}
			return context.Cause(ctx)
		}))
	}
	return failed
}

func TestRights(t *testing.T) {
	t.Parallel()
	if len(rights) < 15 {
		t.Fatalf("docs/redis.md lists the rights %v", rights)
	}
	s := redistest.NewServer(t)
	if failed := everything(t, s, rights); len(failed) != 0 {
		t.Errorf("with the rights of docs/redis.md: %v", failed)
	}
	soft := []string{"+publish", "+subscribe", "+unsubscribe", "+ping", "&setlock:k", "+wait"}
	for i, right := range rights {
		if !strings.ContainsAny(right[:1], "~+&") {
			continue
		}
		failed := everything(t, s, slices.Delete(slices.Clone(rights), i, i+1))
		if slices.Contains(soft, right) {
			if len(failed) != 0 {
				t.Errorf("without %s: %v, want speed to be lost and nothing else", right, failed)
			}
			continue
		}
		for op, err := range failed {
			var answer redis.Error
			says := slices.ContainsFunc([]string{"NOPERM", "o permissions", "can't run this command"},
				func(s string) bool { return strings.Contains(err.Error(), s) })
			if !errors.As(err, &answer) || !says || !strings.Contains(err.Error(), `"k"`) {
				t.Errorf("without %s: %s = %v, want one that says so", right, op, err)
			}
		}
		if len(failed) == 0 && right != "+eval" { // the scripts are loaded by now
			t.Errorf("without %s everything works: docs/redis.md asks for too much", right)
		}
	}
}

// Without the right to PUBLISH or to SUBSCRIBE a watch still sees every change.
func TestWatchWithoutRights(t *testing.T) {
	t.Parallel()
	for _, right := range []string{"+publish", "+subscribe", "&setlock:k"} {
		s := redistest.NewServer(t)
		fewer := slices.DeleteFunc(slices.Clone(rights), func(r string) bool { return r == right })
		a, b := locktest.Pair(t, as(t, s, fewer))
		a.Lease, b.Lease = time.Second, time.Second
		c := locktest.Watch(t, b)
		locktest.Receive(t, c, 5*time.Second)
		locktest.MustLock(t, a, time.Minute)
		if h := locktest.Receive(t, c, 5*time.Second); h.Owner != "a" {
			t.Errorf("without %s saw %+v, want a", right, h)
		}
	}
}

func TestMaxMemory(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t)
	a, b := locktest.Pair(t, s.Dial)
	a.Lease = 2 * time.Second
	locktest.MustDo(t, a, func(ctx context.Context) error {
		redistest.Do(t, s.Dial, "CONFIG", "SET", "maxmemory", "1mb")
		c := &setlock.Lock{Key: "other", Pool: b.Pool}
		if _, err := c.Lock(ctx, time.Minute); err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("Lock at maxmemory = %v, want OOM", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
		return context.Cause(ctx)
	})
	if got := redistest.Do(t, s.Dial, "EXISTS", "k", "other", "{other}:fence"); got != int64(0) {
		t.Errorf("%v keys left behind", got)
	}
}
