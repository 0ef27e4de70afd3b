package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gomodule/redigo/redis"
	"go.uber.org/goleak"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// secret stands in wrong addresses where a password might, in every form that
// could come out again.
const secret = "5ecret"

func TestUsageErrors(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"-x", "-x"},
		{"here", `unexpected argument "here"`},
		{"-for 1s redis://:5ecret@h:1", "unexpected argument"},
		{"-for -1s", "-for -1s is negative"},
		{"-for soon", "-for"},
		{"-lease 99ms", "-lease 99ms is less than 100ms"},
		{"-lease 0", "-lease 0s is less than 100ms"},
		{"-lease redis://:5ecret@h:1", "-lease"},
		{"-key=", "-key is empty"},
		{"-id a", "-id needs -redis"},
		{"-http :0", "-http needs -redis"},
		{"-stdin", "-stdin needs -redis"},
		{"-redis h:1 -id=", "-id is empty"},
		{"-redis h:1 -http=", "-http is empty"},
		{"-redis=", "-redis: no host"},
		{"-redis h", "no port"},
		{"-redis h:0", "no port"},
		{"-redis h:65536", "no port"},
		{"-redis h:http", "malformed"},
		{"-redis :6379", "no host"},
		{"-redis redis://", "no host"},
		{"-redis http://:5ecret@h:1", "unknown scheme"},
		{"-redis u:5ecret@h:1", "malformed"},
		{"-redis redis://:5ecret/@h:1", "malformed"},
		{"-redis redis://:5ecret#@h:1", "malformed"},
		{"-redis redis://u:1/5ecret@h:1", "database"},
		{"-redis redis://u:1/2?5ecret@h:1", "unexpected ? or #"},
		{"-redis redis://u:1/2#5ecret@h:1", "unexpected ? or #"},
		{"-redis redis://:5ecret%@h:1", "malformed"},
		{"-redis redis://h:1/99999999999", "database"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(test.args), nil, &stdout, &stderr)
		got := stderr.String()
		if code != exitUsage || strings.Count(got, "\n") != 1 || !strings.Contains(got, test.want) || stdout.Len() > 0 {
			t.Errorf("leader %s: exit code %d, %q, %q, want %d and one line with %q", test.args, code, got, &stdout, exitUsage, test.want)
		}
		if strings.Contains(got, secret) {
			t.Errorf("leader %s: %q shows the password", test.args, got)
		}
	}
	var stdout bytes.Buffer
	if code := run(t.Context(), []string{"-h"}, nil, &stdout, nil); code != exitOK || !strings.Contains(stdout.String(), "-lease") {
		t.Errorf("-h: exit code %d, %q, want %d and the flags", code, &stdout, exitOK)
	}
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-redis", "127.0.0.1:1", "-http", l.Addr().String()}, nil, &stdout, &stderr)
	if got := stderr.String(); code != exitFailed || strings.Count(got, "\n") != 1 || !strings.Contains(got, "-http: ") {
		t.Errorf("exit code %d, %q, want %d and one line", code, got, exitFailed)
	}
}

// An unreachable Redis ends nothing, and is told once, without the password.
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-redis", "redis://u:5ecret@" + addr, "-id", "a", "-for", "1500ms"}, nil, &stdout, &stderr)
	got := stdout.String()
	if code != exitOK || stderr.Len() > 0 || strings.Count(got, "keeps trying") != 1 || !strings.Contains(got, addr) {
		t.Errorf("exit code %d, %q, %q, want %d and one line that says so", code, got, &stderr, exitOK)
	}
	if strings.Contains(got, secret) {
		t.Errorf("%q shows the password", got)
	}
}

// onBoth runs test on an embedded server, and on a real one.
func onBoth(t *testing.T, test func(t *testing.T, dial redistest.Dialer)) {
	t.Run("embedded", func(t *testing.T) { test(t, redistest.NewEmbedded(t).Dial) })
	t.Run("server", func(t *testing.T) { test(t, redistest.NewServer(t).Dial) })
}

func TestCounterRefusesStaleFences(t *testing.T) {
	onBoth(t, func(t *testing.T, dial redistest.Dialer) {
		c := &counter{pool: redistest.Pool(t, dial), key: counterKey("k")}
		const now = 1795383561178069 // as large as fences are
		for i, test := range []struct{ fence, want int64 }{
			{1, 1}, {1, 2}, {5, 3}, {4, 0}, {1, 0}, {5, 4}, {now, 5}, {now - 1, 0}, {now + 1, 6}, {now, 0}, {5, 0}, {now + 1, 7},
		} {
			got, err := c.step(t.Context(), test.fence)
			if got != test.want || errors.Is(err, errStale) != (test.want == 0) || err != nil && test.want != 0 {
				t.Errorf("step %d with fence %d = %d, %v, want %d", i, test.fence, got, err, test.want)
			}
		}
		fields, err := redis.StringMap(redistest.Do(t, dial, "HGETALL", "{k}:counter"), nil)
		if want := strconv.Itoa(now + 1); err != nil || fields["count"] != "7" || fields["fence"] != want {
			t.Errorf("the counter is %v (%v), want count 7, fence %s", fields, err, want)
		}
		redistest.Do(t, dial, "SET", "{k}:counter", "foreign")
		if _, err := c.step(t.Context(), now+2); err == nil || errors.Is(err, errStale) {
			t.Errorf("a step on a foreign key = %v, want an error, and not errStale", err)
		}
	})
}

func TestCounterKey(t *testing.T) {
	for key, want := range map[string]string{"k": "{k}:counter", "a{k}b": "a{k}b:counter", "{": "{{}:counter"} {
		if got := counterKey(key); got != want {
			t.Errorf("counterKey(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := redistest.NewEmbedded(t)
		pool := redistest.Pool(t, server.Dial)
		var said []string
		c := &counter{pool: pool, key: "c", say: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
		lock := &setlock.Lock{Key: "k", Pool: pool}

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second/2)
		defer cancel()
		start := time.Now()
		if err := lock.Do(ctx, c.work); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("work = %v, want the error of its context", err)
		}
		if got := time.Since(start); got != 5*time.Second/2 {
			t.Errorf("work took %v, want 2.5s", got)
		}
		if want := "[counts 1 counts 2 counts 3]"; fmt.Sprint(said) != want {
			t.Errorf("said %v, want %s", said, want)
		}

		server.HSet("c", "fence", "8999999999999999") // of one who leads later
		start = time.Now()
		err := lock.Do(t.Context(), c.work)
		if !errors.Is(err, errStale) || time.Since(start) > time.Second {
			t.Errorf("work = %v after %v, want errStale at once", err, time.Since(start))
		}
		if got := server.HGet("c", "count"); got != "3" {
			t.Errorf("a stale fence made the count %s", got)
		}

		if err := c.work(t.Context()); err == nil || errors.Is(err, errStale) {
			t.Errorf("work without a fence = %v, want an error", err)
		}
	})
}

// A process is the program as users run it.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	gone chan struct{} // closed when nobody has its output open any more

	mu    sync.Mutex
	lines []string
	news  chan struct{} // closed and replaced when lines grows
}

// start runs the program at path until t ends.
func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(path, args...), gone: make(chan struct{}), news: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	err = p.cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.gone)
		defer r.Close()
		for s := bufio.NewScanner(r); s.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, s.Text())
			close(p.news)
			p.news = make(chan struct{})
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait() // fails if a test has waited
		<-p.gone
		if t.Failed() {
			t.Logf("%v:\n%s", p.cmd.Args, p.output())
		}
	})
	return p
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// await waits for n lines that pattern matches and returns what its first group
// matched in each.
func (p *process) await(pattern string, n int) []string {
	p.t.Helper()
	timeout := time.After(15 * time.Second)
	for re := regexp.MustCompile(pattern); ; {
		p.mu.Lock()
		news := p.news
		p.mu.Unlock()
		var found []string
		for _, m := range re.FindAllStringSubmatch(p.output(), -1) {
			found = append(found, m[len(m)-1])
		}
		if len(found) >= n {
			return found
		}
		select {
		case <-news:
		case <-timeout:
			p.t.Fatalf("%d of %d lines with %q", len(found), n, pattern)
		}
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("%v: %v", s, err)
	}
}

// end waits for the end of the process and of all who share its output, and
// checks the exit code, -1 for a signal's.
func (p *process) end(want int) {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(15 * time.Second):
		p.t.Fatal("the output is still open: a process is left")
	}
	p.cmd.Wait() // fails unless the exit code is 0
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		p.t.Errorf("exit code %d, want %d", got, want)
	}
}

func TestProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the program")
	}
	path := filepath.Join(t.TempDir(), "leader.exe")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for name, test := range map[string]func(*testing.T, string){
		"demo":             testDemo,
		"demo interrupted": testDemoInterrupted,
		"demo killed":      testDemoKilled,
		"demo orphaned":    testDemoOrphaned,
		"replicas":         testReplicas,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, path)
		})
	}
}

func testDemo(t *testing.T, path string) {
	p := start(t, path, "-for", "8s")
	p.end(exitOK)
	leaders := make(map[string]bool)
	for _, id := range p.await(`demo  sees (\w) lead`, 2) {
		leaders[id] = true
	}
	if len(leaders) < 2 {
		t.Errorf("leaders %v, want two", leaders)
	}
	for _, gap := range p.await(`nobody led for (\S+)`, 1) {
		if d, err := time.ParseDuration(gap); err != nil || d < demoLease/2 || d > demoLease+time.Second {
			t.Errorf("nobody led for %s after a kill (%v), want what is left of %v", gap, err, demoLease)
		}
	}
	if got := len(p.await(`starts, pid (\d+)`, 4)); got > 5 {
		t.Errorf("%d replicas were started, want 3 and one for each kill", got)
	}
	last := 0
	for _, count := range p.await(`counts (\d+)`, 4) {
		n, _ := strconv.Atoi(count)
		if n <= last {
			t.Errorf("counted %d after %d", n, last)
		}
		last = n
	}
	if strings.Contains(p.output(), "by itself") {
		t.Error("a replica ended that was not killed")
	}
}

func testDemoInterrupted(t *testing.T, path string) {
	p := start(t, path)
	p.await(`follows (\w)`, 2)
	p.signal(os.Interrupt)
	p.end(exitOK)
	p.await(`\b([abc])     has ended`, 3)
}

// Whoever kills the demo itself leaves no replicas behind.
func testDemoKilled(t *testing.T, path string) {
	p := start(t, path)
	p.await(`follows (\w)`, 2)
	p.signal(os.Kill)
	p.end(-1)
	p.await(`(standard input has ended)`, 3)
}

// A demo whose starter is killed, as go run may be, ends too.
func testDemoOrphaned(t *testing.T, path string) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	p := start(t, sh, "-c", `"$0"; true`, path)
	p.await(`follows (\w)`, 2)
	p.signal(os.Kill)
	p.end(-1)
	p.await(`(standard input has ended)`, 3)
}

func testReplicas(t *testing.T, path string) {
	const lease = time.Second
	server := redistest.NewServer(t)
	replicas, urls := make(map[string]*process), make(map[string]string)
	for _, id := range []string{"a", "b", "c"} {
		p := start(t, path, "-redis", "redis://"+server.Addr, "-id", id, "-lease", lease.String(), "-http", "127.0.0.1:0")
		replicas[id], urls[id] = p, p.await(`serves (\S+)`, 1)[0]
	}
	pool := redistest.Pool(t, server.Dial)
	watch := (&setlock.Lock{Key: "leader", Pool: pool, Lease: lease}).Watch(t.Context())
	// next returns the next leader, and fails t if there is none within d.
	next := func(d time.Duration) string {
		t.Helper()
		timeout := time.After(d)
		for {
			select {
			case h := <-watch:
				if !h.Nobody() {
					return h.Owner
				}
			case <-timeout:
				t.Fatalf("no leader within %v", d)
			}
		}
	}
	// Whoever leads, the counter only rises, and does so within d.
	var count int64
	rises := func(d time.Duration) {
		t.Helper()
		conn := pool.Get()
		defer conn.Close()
		for before, deadline := count, time.Now().Add(d); count == before; time.Sleep(5 * time.Millisecond) {
			n, err := redis.Int64(conn.Do("HGET", counterKey("leader"), "count"))
			if err != nil && err != redis.ErrNil || n < count || time.Now().After(deadline) {
				t.Fatalf("the counter is %d (%v) after %d", n, err, count)
			}
			count = n
		}
	}

	first := next(5 * time.Second)
	rises(5 * time.Second)
	rises(5 * time.Second)
	for id, url := range urls {
		answer, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if leads := answer.StatusCode == http.StatusOK; leads != (id == first) {
			t.Errorf("%s answers %s while %s leads", id, answer.Status, first)
		}
	}
	http.DefaultClient.CloseIdleConnections()

	// A leader that is stopped for longer than its lease finds another when
	// it goes on, and becomes a follower.
	replicas[first].signal(syscall.SIGSTOP)
	second := next(lease + time.Second)
	replicas[first].signal(syscall.SIGCONT)
	replicas[first].await(`(has lost the leadership|hands over)`, 1)
	rises(5 * time.Second)

	replicas[second].signal(os.Kill)
	third := next(lease + time.Second)
	if third == second {
		t.Errorf("%s leads after its death", third)
	}
	replicas[second].end(-1)
	rises(5 * time.Second)

	replicas[third].signal(syscall.SIGTERM)
	fourth := next(time.Second)
	if fourth == third || fourth == second {
		t.Errorf("%s leads after its end", fourth)
	}
	replicas[third].end(exitOK)
	rises(5 * time.Second)

	replicas[fourth].signal(os.Interrupt)
	replicas[fourth].end(exitOK)

	// No two steps have counted the same, whoever took them.
	seen := make(map[string]string)
	for id, p := range replicas {
		for _, n := range regexp.MustCompile(`counts (\d+)`).FindAllStringSubmatch(p.output(), -1) {
			if other, twice := seen[n[1]]; twice {
				t.Errorf("%s and %s have both counted %s", id, other, n[1])
			}
			seen[n[1]] = id
		}
	}
}
