package main

import (
	"bufio"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// A process is the program as users run it.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	gone chan struct{} // closed when no process has its output open any more

	mu    sync.Mutex
	lines []string
	news  chan struct{} // closed and replaced when lines grows
}

// start runs the program at path until t ends.
func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	return startCommand(t, exec.Command(path, args...))
}

// startCommand runs cmd, which is the program, until t ends.
func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, gone: make(chan struct{}), news: make(chan struct{})}
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

// await waits for n lines that pattern matches. It returns what the last group of the pattern matched
// in each.
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

// end waits for the end of the process, and of all processes that share its output. It checks the
// exit code, which is -1 after a signal.
func (p *process) end(want int) {
	p.t.Helper()
	select {
	case <-p.gone:
	case <-time.After(time.Minute):
		p.t.Fatal("the output is still open: a process is left")
	}
	p.cmd.Wait() // fails unless the exit code is 0
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		p.t.Errorf("exit code %d, want %d", got, want)
	}
}
