package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/internal/redistest"
	"example.com/setlock/setlock"
)

func TestProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs the program")
	}
	path := filepath.Join(t.TempDir(), "leader.exe")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for name, test := range map[string]func(*testing.T, string){
		"demo":                   testDemo,
		"demo interrupted":       testDemoInterrupted,
		"demo in a terminal":     testDemoInTerminal,
		"json":                   testJSON,
		"stories":                testStories,
		"story interrupted":      testStoryInterrupted,
		"command":                testCommand,
		"command terminated":     testCommandTerminated,
		"command lost":           testCommandLost,
		"command wrapper killed": testCommandWrapperKilled,
		"demo paused":            testDemoPaused,
		"demo killed":            testDemoKilled,
		"demo orphaned":          testDemoOrphaned,
		"replicas":               testReplicas,
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
	if lines := strings.Split(p.output(), "\n"); !strings.Contains(lines[len(lines)-1], "verdict: ") {
		t.Errorf("the last line is %q, want the verdict", lines[len(lines)-1])
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
	p.await(`\b([abc])     has ended: the demo is over`, 3)
	p.await(`\b([abc])     hands over: the demo is over`, 1)
	p.await(`(?m)\b([abc])     starts, pid \d+$`, 3)
	p.await(`^\S+  demo  embedded (Redis on redis://127\.0\.0\.1:\d+)\n`, 1)
	p.await(`\n(a    \|)`, 1)
	endIsNoGap(p)
}

// endIsNoGap checks that the verdict of a demo that was interrupted does not count its end as a time
// without a leader.
func endIsNoGap(p *process) {
	p.t.Helper()
	p.await(`(verdict: )`, 1)
	if strings.Contains(p.output(), "nobody has led for the last") {
		p.t.Error("the verdict counts the end of the demo as a gap")
	}
}

// The death of the demo itself leaves no replicas behind.
func testDemoKilled(t *testing.T, path string) {
	endsWithReplicas(start(t, path), "standard input has ended")
}

// A demo whose starter is killed, as go run may be, ends too.
func testDemoOrphaned(t *testing.T, path string) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	endsWithReplicas(start(t, sh, "-c", `"$0"; true`, path), "has ended: the demo is over")
}

// endsWithReplicas kills a process that runs a demo, and waits until all replicas have said why they
// end.
func endsWithReplicas(p *process, why string) {
	p.t.Helper()
	p.await(`follows (\w)`, 2)
	p.signal(os.Kill)
	p.end(-1)
	p.await(`(`+why+`)`, 3)
}

func testReplicas(t *testing.T, path string) {
	const lease = 3 * time.Second // a stall of the machine must not move the leadership
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
	// rises waits until the counter has risen, and fails t unless it does so within d. It never falls.
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
		if answer, err = http.Get(url + "/healthz"); err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("%s answers %s on /healthz", id, answer.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()

	// A leader is stopped for longer than its lease. After SIGCONT it finds another leader, and follows.
	if err := pause(replicas[first].cmd.Process); err != nil {
		t.Fatal(err)
	}
	second := next(lease + time.Second)
	if err := resume(replicas[first].cmd.Process); err != nil {
		t.Fatal(err)
	}
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
	replicas[fourth].await(`verdict: led (once|\d times)`, 1)

	// No two steps have counted the same, in all replicas.
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
