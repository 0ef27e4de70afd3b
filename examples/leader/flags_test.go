package main

import (
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		args string
		want config // without what the others have too
	}{
		{"", config{key: "leader", lease: demoLease}},
		{"-for 30s -key k -lease 100ms", config{key: "k", lease: 100 * time.Millisecond, limit: 30 * time.Second}},
		{"-redis localhost:6379 -id a", config{id: "a", key: "leader", url: "redis://localhost:6379", addr: "localhost:6379"}},
		{"-redis [::1]:7 -id a", config{id: "a", key: "leader", url: "redis://[::1]:7", addr: "[::1]:7"}},
		{"-redis redis://h -id a -http :80 -stdin", config{id: "a", key: "leader", http: ":80", stdin: true, url: "redis://h", addr: "h:6379"}},
		{"-redis rediss://u:p@h:1/2 -id a -lease 3s", config{id: "a", key: "leader", lease: 3 * time.Second, url: "rediss://u:p@h:1/2", addr: "h:1"}},
		{"-redis redis://h/ -id a", config{id: "a", key: "leader", url: "redis://h/", addr: "h:6379"}},
	} {
		got, err := parse(strings.Fields(test.args))
		got.redis = ""
		if err != nil || got != test.want {
			t.Errorf("parse %q = %+v, %v, want %+v", test.args, got, err, test.want)
		}
	}
	c, err := parse([]string{"-redis", "h:1"})
	if pid := strconv.Itoa(os.Getpid()); err != nil || !strings.HasSuffix(c.id, ":"+pid) {
		t.Errorf("the default id is %q (%v), want host:%s", c.id, err, pid)
	}
	if _, err := parse([]string{"-help"}); err != flag.ErrHelp {
		t.Errorf("parse -help = %v, want ErrHelp", err)
	}
}
