package docs_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/setlock/internal/docs"
	"example.com/setlock/internal/redistest"
)

// readmeProgram returns the complete program of the README. It fails t unless there is exactly one.
func readmeProgram(t *testing.T) block {
	t.Helper()
	var found []block
	for _, b := range blocks(t, "go") {
		if b.page == "README.md" && docs.IsComplete(b.Text) {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d complete programs in README.md, want one", len(found))
	}
	return found[0]
}

// The program of the README runs as it is. One process leads, the other takes over when the leader is
// interrupted, and both end with exit code 0.
func TestREADMEProgramRuns(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted")
	}
	m := newModule(t)
	b := readmeProgram(t)
	exe := filepath.Join(t.TempDir(), "program")
	if out, err := m.run("build", "-o", exe, m.add(b.page, b.Line, b.Text)); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		server := redistest.NewEmbedded(t)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		testProgram(t, exe, server.Addr())
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		testProgram(t, exe, redistest.NewServer(t).Addr)
	})
}

func testProgram(t *testing.T, exe, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	url := "redis://127.0.0.1:" + port
	first := startProgram(t, exe, url)
	first.await(t, "working")
	second := startProgram(t, exe, url)
	second.await(t, "new leader seen")
	if text := second.String(); strings.Contains(text, "working") {
		t.Errorf("the second process works while the first leads: %s", text)
	}
	for _, p := range []*program{first, second} {
		p.await(t, "working")
		if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("after an interrupt: %v\n%s", err, p)
		}
	}
}

// A program is a process that runs until a test ends. It holds what the process has printed.
type program struct {
	cmd *exec.Cmd

	mu  sync.Mutex
	out bytes.Buffer
}

func startProgram(t *testing.T, exe, url string) *program {
	t.Helper()
	p := &program{cmd: exec.CommandContext(t.Context(), exe)}
	p.cmd.Env = append(os.Environ(), "REDIS_URL="+url)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Wait() }) // fails if the test has waited
	return p
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *program) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// await waits until p has printed text.
func (p *program) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(p.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the program has not printed %q:\n%s", text, p)
		}
	}
}
