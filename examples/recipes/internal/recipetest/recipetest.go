// Package recipetest has what the tests of the recipes share: programs that a test starts, and
// conditions that it waits for.
package recipetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Require is the environment variable that makes a missing server a failure instead of a reason to
// skip a test.
const Require = "SETLOCK_REQUIRE_RECIPES"

// patience bounds every wait. It is far longer than what is waited for takes on a busy machine.
const patience = 60 * time.Second

// Program returns the path of a program, which is on the PATH or matches one of the patterns. If it
// is not installed, Program skips t, or fails it where Require is set. The Debian package is named
// in the message.
func Program(t testing.TB, debian, name string, patterns ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, pattern := range patterns {
		if paths, _ := filepath.Glob(pattern); len(paths) > 0 {
			return paths[len(paths)-1]
		}
	}
	if os.Getenv(Require) != "" {
		t.Fatalf("%s is set, but there is no %s: install the package %s", Require, name, debian)
	}
	t.Skipf("there is no %s: install the package %s", name, debian)
	return ""
}

// Eventually waits until ok returns true. It fails t if that takes too long.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v: %s", patience, what)
		}
	}
}

// Receive returns the next value of c. It fails t if that takes too long.
func Receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %v: %s", patience, what)
		panic("unreachable")
	}
}

// A Process is a program that a test has started. Its output is kept.
type Process struct {
	Cmd    *exec.Cmd
	exited chan struct{}

	mu     sync.Mutex
	output bytes.Buffer
}

// Start starts cmd. When t ends, the process is sent stop, and is killed if it then does not end.
func Start(t testing.TB, cmd *exec.Cmd, stop os.Signal) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p, p
	dieWithUs(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // joined by the cleanup
		defer close(p.exited)
		cmd.Wait() // the ProcessState has the result
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(stop) // fails when the process has ended
		kill := time.AfterFunc(patience/4, func() { cmd.Process.Kill() })
		<-p.exited
		kill.Stop()
		if t.Failed() {
			t.Logf("%s has printed:\n%s", filepath.Base(cmd.Path), p.Output())
		}
	})
	return p
}

// Write keeps what the process prints.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

// Output returns what the process has printed so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }
