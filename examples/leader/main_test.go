package main

import (
	"bytes"
	"errors"
	"flag"
	"net"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/setlock/internal/leaktest"
	"example.com/setlock/setlock"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestParse(t *testing.T) {
	t.Setenv(redisURL, "redis://u:p@h?master_name=m")
	for _, test := range []struct {
		args   string
		want   config // without what the others have too
		server string
	}{
		{"", config{key: "leader", lease: demoLease, http: pageAddr}, ""},
		{"-for 30s -key k -lease 100ms", config{key: "k", lease: 100 * time.Millisecond, limit: 30 * time.Second, http: pageAddr}, ""},
		{"-lease 8760h", config{key: "leader", lease: setlock.MaxLease, http: pageAddr}, ""},
		{"-redis localhost:6379 -id a", config{id: "a", key: "leader"}, "redis://localhost:6379"},
		{"-redis [::1]:7 -id a", config{id: "a", key: "leader"}, "redis://[::1]:7"},
		{"-redis redis://h -id a -http :80 -stdin", config{id: "a", key: "leader", http: ":80", stdin: true}, "redis://h:6379"},
		{"-redis rediss://u:p@h:1/2 -id a -lease 3s", config{id: "a", key: "leader", lease: 3 * time.Second}, "rediss://h:1?db=2"},
		{"-redis unix:/run/r.sock -id a", config{id: "a", key: "leader"}, "unix:///run/r.sock"},
		{"-redis h:1 -id a -- go -redis -- x", config{id: "a", key: "leader", command: []string{"go", "-redis", "--", "x"}}, "redis://h:1"},
		{"-redis REDIS_URL -id a -key k", config{id: "a", key: "k"}, "redis://h:6379?master_name=m"},
	} {
		got, err := parse(strings.Fields(test.args))
		server, key := "", test.want.key
		if got.server != nil {
			server, key = got.server.String(), got.server.Key
		}
		got.redis, got.server = "", nil
		test.want.grace = commandGrace
		if err != nil || !reflect.DeepEqual(got, test.want) || server != test.server || key != test.want.key {
			t.Errorf("parse %q = %+v, %s with the key %q, %v, want %+v, %s", test.args, got, server, key, err, test.want, test.server)
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

// secret is in wrong addresses wherever a password might be. No output may show it.
const secret = "5ecret"

func TestUsageErrors(t *testing.T) {
	t.Setenv(redisURL, "")
	for _, test := range []struct{ args, want string }{
		{"-x", "-help lists the flags"},
		{"here", `unexpected argument "here"`},
		{"-for 1s redis://:5ecret@h:1", "unexpected argument"},
		{"-for -1s", "-for -1s is negative"},
		{"-for soon", "-for"},
		{"-lease 99ms", "-lease 99ms is less than 100ms"},
		{"-lease 9000h", "leader: -lease 9000h0m0s is more than 8760h0m0s; for example: -lease 2s\n"},
		{"-redis h:1 -lease 8760h1ns", "-lease 8760h0m0.000000001s is more than 8760h0m0s"},
		{"-lease 0", "-lease 0s is less than 100ms"},
		{"-lease redis://:5ecret@h:1", "-lease"},
		{"-key=", "-key is empty"},
		{"-id a", "-id needs -redis"},
		{"-http :0", "-http :0 is no address of the loopback: the page has buttons that kill; for example: -http localhost:8080"},
		{"-http 192.0.2.1:80", "-http 192.0.2.1:80 is no"},
		{"-http=", "-http  is no address"},
		{"-http localhost", "-http localhost is no address"},
		{"-http localhost:0 -script all", "-http is not for a story"},
		{"-stdin", "-stdin needs -redis"},
		{"-redis h:1 -id=", "-id is empty"},
		{"-redis h:1 -http=", "-http is empty"},
		{"-redis=", "-redis: want host:port"},
		{"-redis h", "-redis: want host:port"},
		{"-redis h:0", "port"},
		{"-redis h:65536", "port"},
		{"-redis h:http", "malformed"},
		{"-redis :6379", "-redis: want host:port"},
		{"-redis http://:5ecret@h:1", "redis://"},
		{"-redis u:5ecret@h:1", "-redis: want host:port"},
		{"-redis redis://:5ecret/@h:1", "malformed"},
		{"-redis redis://:5ecret#@h:1", "malformed"},
		{"-redis redis://u:1/5ecret@h:1", "database"},
		{"-redis redis://u:1/2?5ecret@h:1", "unknown parameter"},
		{"-redis redis://u:1/2#5ecret@h:1", "has a #"},
		{"-redis redis://:5ecret%@h:1", "malformed"},
		{"-redis redis://h:1/99999999999", "database"},
		{"-redis redis://h:1?timeout=1", "unknown parameter timeout"},
		{"-redis REDIS_URL", "REDIS_URL is empty"},
		{"-script war", `-script "war" is none of failover, pause, partition, redis, all; for example: -script failover`},
		{"-redis h:1 --", "-- is not followed by a command; for example: -redis localhost:6379 -key nightly -- "},
		{"-- go", "-- and a command need -redis; for example: "},
		{"-redis h:1 -- no-such-command", "leader: the command \"no-such-command\" is not on the PATH\n"},
		{"-redis h:1 -- ./no/such/command", "leader: the command \"./no/such/command\" cannot be run: "},
		{"-redis h:1 -json -- go", "-json is not for a command"},
		{"-redis h:1 -grace -1s -- go", "-grace -1s is negative; for example"},
		{"-redis h:1 -grace 1s", "-grace needs a command"},
		{"-svg=", `-svg "" is no name of a file; for example: -svg leader.svg`},
		{"-svg .", `-svg "." is no name of a file`},
		{"-svg no/such/file", "is in no directory that exists"},
		{"-svg x -redis h:1", "-svg is for the demo"},
		{"-script=", `-script "" is none of`},
		{"-script all -redis h:1", "-script is for the demo"},
		{"-lease", "flag needs an argument: -lease; for example: -lease 2s"},
		{"-json=maybe", `invalid boolean value "maybe" for -json: parse error; for example: -json`},
		{"-for -key", "for flag -for: parse error; for example: -for 30s"},
	} {
		code, stdout, got := execute(t, strings.Fields(test.args)...)
		if code != exitUsage || strings.Count(got, "\n") != 1 || !strings.Contains(got, test.want) || stdout != "" {
			t.Errorf("leader %s: exit code %d, %q, %q, want %d and one line with %q", test.args, code, got, stdout, exitUsage, test.want)
		}
		if strings.Contains(got, secret) {
			t.Errorf("leader %s: %q shows the password", test.args, got)
		}
	}
	flags(new(config)).VisitAll(func(f *flag.Flag) {
		if rightOnes[f.Name] == "" {
			t.Errorf("there is no example of a right -%s", f.Name)
		} else if _, err := parse(strings.Fields(rightOnes[f.Name])); err != nil {
			t.Errorf("the example %q: %v", rightOnes[f.Name], err)
		}
	})
	if code, stdout, stderr := execute(t, "-h"); code != exitOK || !strings.Contains(stdout, "-lease") || stderr != "" {
		t.Errorf("-h: exit code %d, %q, %q, want %d and the flags", code, stdout, stderr, exitOK)
	}
}

func TestTakenPort(t *testing.T) {
	l := listen(t)
	defer l.Close()
	code, _, got := execute(t, "-redis", "127.0.0.1:1", "-http", l.Addr().String())
	if code != exitFailed || strings.Count(got, "\n") != 1 || !strings.Contains(got, "-http: ") {
		t.Errorf("exit code %d, %q, want %d and one line", code, got, exitFailed)
	}
}

// An unreachable Redis does not end a replica. The replica reports it once, without the password.
func TestUnreachable(t *testing.T) {
	l := listen(t)
	addr := l.Addr().String()
	l.Close()
	code, got, stderr := execute(t, "-redis", "redis://u:5ecret@"+addr, "-id", "a", "-for", "1500ms")
	if code != exitOK || stderr != "" || strings.Count(got, "keeps trying") != 1 || !strings.Contains(got, addr) {
		t.Errorf("exit code %d, %q, %q, want %d and one line that reports it", code, got, stderr, exitOK)
	}
	if strings.Contains(got, secret) {
		t.Errorf("%q shows the password", got)
	}
}

// full is an output that takes nothing.
type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

// A run whose lines are lost fails.
func TestOutputThatIsFull(t *testing.T) {
	l := listen(t)
	defer l.Close()
	for _, format := range []string{"-json=true", "-json=false"} {
		var errs bytes.Buffer
		code := run(t.Context(), []string{"-redis", l.Addr().String(), "-for", "10ms", format}, nil, full{}, &errs)
		if want := "leader: " + errFull.Error() + "\n"; code != exitFailed || errs.String() != want {
			t.Errorf("%s: exit code %d, %q, want %d and %q", format, code, errs.String(), exitFailed, want)
		}
	}
}

// execute runs the program in this process.
func execute(t *testing.T, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(t.Context(), args, nil, &out, &errs)
	return code, out.String(), errs.String()
}

// listen listens on a free port.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
