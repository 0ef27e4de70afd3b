package election

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// What happens to a health, and what it tells after each event.
func TestHealth(t *testing.T) {
	start := time.Now()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	refused, oom := errors.New("refused"), redis.Error("OOM command not allowed")

	type event struct {
		what   string
		event  func(h *health, err error, now time.Time)
		second int
		err    error
		warns  bool // whether err is logged
		lasts  int  // seconds for which Redis has been in trouble; -1: it is not in trouble
	}
	called, failed := (*health).called, (*health).failed
	tries := func(h *health, _ error, _ time.Time) { h.tries() }
	looked := func(h *health, err error, now time.Time) { h.looked(err, now) }
	leads := func(h *health, _ error, _ time.Time) { h.leads() }
	accepted := func(h *health, _ error, _ time.Time) { h.accepted() }
	for name, events := range map[string][]event{
		"all is well": {
			{"an attempt begins", tries, 0, nil, false, -1},
			{"a call works", called, 1, nil, false, -1},
			{"the attempt succeeds", accepted, 1, nil, false, -1},
		},
		"trouble of calls counts since the first that failed": {
			{"a call works", called, 0, nil, false, -1},
			{"a call fails", called, 3, refused, true, 0},
			{"a call fails", called, 5, refused, false, 2},
			{"a call fails in another way", called, 9, oom, true, 6},
			{"a call works", called, 10, nil, false, -1},
			{"a call fails", called, 12, oom, true, 0},
		},
		"trouble of attempts counts since the first that failed": {
			{"an attempt begins", tries, 0, nil, false, -1},
			{"it fails", failed, 2, oom, true, 0},
			{"an attempt begins", tries, 4, nil, false, 2},
			{"it fails", failed, 6, oom, false, 4},
			{"it is accepted", accepted, 7, nil, false, -1},
			{"an attempt begins", tries, 8, nil, false, -1},
			{"it fails", failed, 9, oom, true, 0},
		},
		"calls that work end no trouble of attempts": {
			{"an attempt begins", tries, 0, nil, false, -1},
			{"it fails", failed, 1, oom, true, 0},
			{"a call works", called, 2, nil, false, 1},
			{"a call works", called, 9, nil, false, 8},
		},
		"attempts that are accepted end no trouble of calls": {
			{"a call fails", called, 0, refused, true, 0},
			{"an attempt is accepted", accepted, 4, nil, false, 4},
			{"a call fails", called, 5, refused, false, 5},
		},
		"one failure of both a call and its attempt is warned of once": {
			{"an attempt begins", tries, 0, nil, false, -1},
			{"its call fails", called, 1, refused, true, 0},
			{"the attempt fails", failed, 1, fmt.Errorf("acquire k: %w", refused), false, 0},
			{"an attempt begins", tries, 2, nil, false, 1},
			{"its call fails", called, 3, refused, false, 2},
			{"the attempt fails", failed, 3, fmt.Errorf("acquire k: %w", refused), false, 2},
		},
		"a read that works during an attempt does not forget the warning": {
			{"an attempt begins", tries, 0, nil, false, -1},
			{"it fails", failed, 1, oom, true, 0},
			{"a read works", called, 2, nil, false, 1},
			{"an attempt begins", tries, 3, nil, false, 2},
			{"a read works", called, 4, nil, false, 3},
			{"it fails", failed, 5, oom, false, 4},
		},
		"a read that works after an accepted attempt forgets the warning": {
			{"a call fails", called, 0, refused, true, 0},
			{"an attempt is accepted", accepted, 1, nil, false, 1},
			{"a call fails", called, 2, refused, false, 2},
			{"a read works", called, 3, nil, false, -1},
			{"a call fails", called, 4, refused, true, 0},
		},
		"the last kind is remembered, not all of them": {
			{"a call fails", called, 0, refused, true, 0},
			{"a call fails in another way", called, 1, oom, true, 1},
			{"a call fails in the first way", called, 2, refused, true, 2},
		},
		"a key without expiry is warned of once, and ends no other trouble": {
			{"a look finds it", looked, 1, errEndless, true, 0},
			{"a leader is seen", accepted, 1, nil, false, 0},
			{"a call works", called, 3, nil, false, 2},
			{"a look finds it", looked, 3, errEndless, false, 2},
			{"a call fails", called, 4, refused, true, 3},
			{"a look finds an expiry", looked, 5, nil, false, 1},
		},
		"who leads has no trouble with the key": {
			{"a look finds no expiry", looked, 1, errEndless, true, 0},
			{"an attempt begins", tries, 2, nil, false, 1},
			{"it leads", leads, 2, nil, false, -1},
		},
		"the longer trouble is told": {
			{"a call fails", called, 0, refused, true, 0},
			{"an attempt begins", tries, 1, nil, false, 1},
			{"it fails", failed, 3, oom, true, 3},
			{"a call works", called, 5, nil, false, 2},
			{"a call fails", called, 6, refused, true, 3},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var h health
			for i, e := range events {
				e.event(&h, e.err, at(e.second))
				if warns := h.warns(e.err); warns != e.warns {
					t.Errorf("%d: %s: warns %v, want %v", i, e.what, warns, e.warns)
				}
				if e.lasts < 0 {
					if err := h.check(at(e.second+1000), 0); err != nil {
						t.Errorf("%d: %s: check = %v, want nil", i, e.what, err)
					}
					continue
				}
				lasts := time.Duration(e.lasts) * time.Second
				if err := h.check(at(e.second), lasts); err == nil {
					t.Errorf("%d: %s: check = nil, want trouble for %v", i, e.what, lasts)
				}
				if err := h.check(at(e.second), lasts+1); err != nil {
					t.Errorf("%d: %s: check within its tolerance = %v", i, e.what, err)
				}
			}
		})
	}
}

// check names how long the trouble has lasted, and wraps its last error.
func TestHealthCheckNamesTheLastError(t *testing.T) {
	start := time.Now()
	first, last := errors.New("first"), errors.New("last")
	for name, event := range map[string]func(*health, error, time.Time){"calls": (*health).called, "attempts": (*health).failed} {
		var h health
		event(&h, first, start)
		event(&h, last, start.Add(time.Second))
		err := h.check(start.Add(3*time.Second), time.Second)
		if !errors.Is(err, last) || errors.Is(err, first) || !strings.Contains(err.Error(), "for 3s") {
			t.Errorf("%s: check = %v, want the last error and 3s", name, err)
		}
	}
}

func TestKind(t *testing.T) {
	addr := func(port int) net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }
	reset := func(port int) error {
		return &net.OpError{Op: "read", Net: "tcp", Source: addr(port), Addr: addr(6379), Err: errors.New("connection reset by peer")}
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{io.EOF, "EOF"},
		{fmt.Errorf("acquire k: %w", io.EOF), "EOF"},
		{fmt.Errorf("twice: %w", fmt.Errorf("acquire k: %w", io.EOF)), "EOF"},
		{reset(1111), "read: connection reset by peer"},
		{fmt.Errorf("acquire k: %w", reset(2222)), "read: connection reset by peer"},
		{&net.DNSError{Name: "redis.example", Err: "no such host", Server: "10.0.0.1:53"}, "lookup redis.example"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "redis.example", Err: "server misbehaving"}}, "lookup redis.example"},
		{fmt.Errorf("acquire k: %w", redis.Error("OOM command not allowed")), "OOM command not allowed"},
	} {
		if got := kind(test.err); got != test.want {
			t.Errorf("kind(%v) = %q, want %q", test.err, got, test.want)
		}
	}
}
