//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"example.com/setlock/examples/leader/internal/gate"
	"example.com/setlock/internal/redistest"
)

// shell returns the arguments that run a script of sh as the command.
func shell(addr, script string, flags ...string) []string {
	args := append([]string{"-redis", addr, "-key", "k", "-id", "me"}, flags...)
	return append(args, "--", "sh", "-c", script)
}

// holder returns the value of the lock key; "" if nobody holds the lock.
func holder(t *testing.T, dial redistest.Dialer) string {
	t.Helper()
	s, err := redis.String(redistest.Do(t, dial, "GET", "k"), nil)
	if err != nil && !errors.Is(err, redis.ErrNil) {
		t.Fatal(err)
	}
	return s
}

func testCommand(t *testing.T, path string) {
	server := redistest.NewServer(t)

	// Its output is its own, and so is its status.
	cmd := exec.Command(path, shell(server.Addr, `cat; echo "$SETLOCK_KEY $SETLOCK_OWNER $SETLOCK_FENCE"; echo err >&2; exit 7`)...)
	cmd.Stdin = strings.NewReader("in\n")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, _ := cmd.Output()
	if m, _ := regexp.Match(`^in\nk me \d{10,}\n$`, out); !m || errs.String() != "err\n" || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("output %q, %q, status %d, want that of the command", out, errs.String(), cmd.ProcessState.ExitCode())
	}
	if got := holder(t, server.Dial); got != "" {
		t.Errorf("the lock is held by %q after the command", got)
	}

	// A command that a signal has ended has a status as in a shell.
	p := start(t, path, shell(server.Addr, `kill -9 $$`)...)
	p.end(signalled + int(syscall.SIGKILL))

	// Two never run at the same time.
	file := filepath.Join(t.TempDir(), "running")
	script := `mkdir "$0" && sleep 0.2 && rmdir "$0"`
	var all []*process
	for range 3 {
		all = append(all, start(t, path, append(shell(server.Addr, script), file)...))
	}
	for _, p := range all {
		p.end(0)
	}
}

// At SIGTERM, the command gets it too, and the lock is held until the command has ended.
func testCommandTerminated(t *testing.T, path string) {
	server := redistest.NewServer(t)
	p := start(t, path, shell(server.Addr, `trap 'echo asked; sleep 1; exit 3' TERM; echo runs; while :; do sleep 0.01; done`, "-lease", "500ms")...)
	p.await(`(runs)`, 1)
	p.signal(syscall.SIGTERM)
	p.await(`(asked)`, 1)
	time.Sleep(700 * time.Millisecond) // longer than the lease, which must be renewed
	if got := holder(t, server.Dial); got == "" {
		t.Error("the lock was released while the command ran")
	}
	p.end(3)
	if got := holder(t, server.Dial); got != "" {
		t.Errorf("the lock is held by %q after the command", got)
	}

	// A command that does not end is killed after the grace, with all its group.
	p = start(t, path, shell(server.Addr, `trap '' TERM; sleep 300 & echo pid $!; echo runs; wait; sleep 300`, "-grace", "200ms")...)
	child := pid(p, `pid (\d+)`)
	p.await(`(runs)`, 1)
	p.signal(syscall.SIGTERM)
	p.end(signalled + int(syscall.SIGKILL))
	dead(t, child)

	// A second signal kills it at once.
	p = start(t, path, shell(server.Addr, `trap 'echo asked' TERM; echo runs; while :; do sleep 0.01; done`, "-grace", "1h")...)
	p.await(`(runs)`, 1)
	p.signal(os.Interrupt)
	p.await(`(asked)`, 1)
	p.signal(os.Interrupt)
	p.end(signalled + int(syscall.SIGKILL))

	// A terminal that is closed leaves nothing behind that still runs.
	p = start(t, path, shell(server.Addr, `sleep 300 & echo pid $!; echo runs; wait`)...)
	child = pid(p, `pid (\d+)`)
	p.await(`(runs)`, 1)
	p.signal(syscall.SIGHUP)
	p.end(signalled + int(syscall.SIGTERM))
	dead(t, child)

	// What the command leaves behind is killed before the lock is released.
	p = start(t, path, shell(server.Addr, `sleep 300 >/dev/null 2>&1 & echo pid $!`)...)
	child = pid(p, `pid (\d+)`)
	p.end(0)
	dead(t, child)
}

// After a loss, the command is dead while its lock still exists, whatever it does about SIGTERM.
func testCommandLost(t *testing.T, path string) {
	const lease = 10 * time.Second // a twentieth of it is left when the command must be dead
	server := redistest.NewServer(t)
	g, err := gate.New(server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	p := start(t, path, shell(g.Addr(), `trap 'echo asked' TERM; echo pid $$; sleep 300 & echo child $!; while :; do sleep 0.01; done`, "-lease", lease.String(), "-grace", "1h")...)
	shell, child := pid(p, `pid (\d+)`), pid(p, `child (\d+)`)
	g.Cut()
	p.await(`(asked)`, 1)
	dead(t, shell)
	dead(t, child)
	if got := holder(t, server.Dial); got == "" {
		t.Error("the lock had expired before the command was dead")
	}
	p.end(signalled + int(syscall.SIGKILL))
	if !strings.Contains(p.output(), "leader: the command was stopped: ") {
		t.Error("the output does not say why the command was stopped")
	}
	// A command that ends well after a loss has been interrupted all the same.
	g.Heal()
	p = start(t, path, "-redis", server.Addr, "-key", "k", "-lease", "300ms", "--", "sh", "-c", `trap 'exit 0' TERM; echo runs; while :; do sleep 0.01; done`)
	p.await(`(runs)`, 1)
	redistest.Do(t, server.Dial, "SET", "k", "thief")
	p.end(exitFailed)
}

// The command dies with its wrapper, and one that waits does not run its command.
func testCommandWrapperKilled(t *testing.T, path string) {
	server := redistest.NewServer(t)
	p := start(t, path, shell(server.Addr, `trap '' TERM; echo pid $$; while :; do sleep 0.01; done`)...)
	command := pid(p, `pid (\d+)`)
	waiting := start(t, path, shell(server.Addr, `echo ran`)...)
	subscribed(t, server.Dial, 2)
	defer func() {
		waiting.signal(os.Interrupt)
		waiting.end(exitFailed)
		if strings.Contains(waiting.output(), "ran\n") || strings.Count(waiting.output(), "was not run") != 1 {
			t.Errorf("the waiting wrapper says %q", waiting.output())
		}
	}()
	if runtime.GOOS != "linux" {
		syscall.Kill(-command, syscall.SIGKILL)
		t.Skip("only Linux kills the command of a killed wrapper")
	}
	p.signal(os.Kill)
	p.end(-1)
	dead(t, command)
}

// subscribed waits until so many processes receive the announcements of the lock.
func subscribed(t *testing.T, dial redistest.Dialer, want int) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(time.Millisecond) {
		reply, err := redis.Values(redistest.Do(t, dial, "PUBSUB", "NUMSUB", "setlock:k"), nil)
		if err != nil || len(reply) != 2 {
			t.Fatalf("PUBSUB NUMSUB = %v, %v", reply, err)
		}
		if n, err := redis.Int(reply[1], nil); err == nil && n >= want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("fewer than %d processes have subscribed", want)
		}
	}
}

// pid returns the process id that p has printed.
func pid(p *process, pattern string) int {
	n, err := strconv.Atoi(p.await(pattern, 1)[0])
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// dead waits until a process does not run any more. It may still wait for its parent.
func dead(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if _, state, ok := strings.Cut(string(stat), ") "); err == nil && ok && strings.HasPrefix(state, "Z") {
			return
		}
		if time.Now().After(deadline) {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Errorf("process %d is left", pid)
			return
		}
	}
}
