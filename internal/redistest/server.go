package redistest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
)

// RequireServer is the environment variable that, when it is set, makes a
// missing redis-server a failure instead of a reason to skip.
const RequireServer = "SETLOCK_REQUIRE_REDIS"

// Server is a redis-server process on a free port of the loopback.
type Server struct {
	Addr string // host:port

	t    testing.TB
	path string
	args []string

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
}

// NewServer starts a redis-server that ends with t, with args besides what it
// needs to run alone. It keeps no data on disk unless args say so. Without a
// redis-server on the PATH it skips t, or fails it where RequireServer says so.
func NewServer(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	return newServer(t, func(port string) []string {
		return slices.Concat([]string{
			"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--logfile", "redis.log",
			"--repl-diskless-sync-delay", "0",
		}, args)
	})
}

// newServer starts a redis-server with the arguments that args returns for a port.
func newServer(t testing.TB, args func(port string) []string) *Server {
	t.Helper()
	path := program(t, "redis-server")
	var err error
	for range 5 {
		port := strconv.Itoa(freePort(t))
		s := &Server{
			Addr: net.JoinHostPort("127.0.0.1", port),
			t:    t,
			path: path,
			args: args(port),
		}
		t.Cleanup(s.Kill)
		if err = s.start(); err == nil {
			return s
		}
		s.Kill()
	}
	t.Fatalf("redis-server: %v", err)
	return nil
}

// program returns the path of a program. Without it, program skips t, or fails it
// where RequireServer says so.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv(RequireServer) != "" {
			t.Fatalf("%s is set: %v", RequireServer, err)
		}
		t.Skipf("no %s on the PATH", name)
	}
	return path
}

// freePort returns a port on which nobody listens at the moment, below those that the
// kernel gives to clients: one of these could take it while its server is
// away, or even connect to itself.
func freePort(t testing.TB) int {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		port := 10_000 + rand.IntN(20_000)
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal(err)
	return 0
}

func (s *Server) start() error {
	s.cmd = exec.Command(s.path, s.args...)
	dieWithUs(s.cmd)
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		return err
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() { // joined by Kill
		defer close(exited)
		cmd.Wait() // says that it was killed
	}()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		select {
		case <-exited: // whoever answers now is another
			return fmt.Errorf("on %s: %v", s.Addr, cmd.ProcessState)
		case <-time.After(5 * time.Millisecond):
		}
		if err = s.ping(); err == nil {
			return nil
		}
	}
	return fmt.Errorf("on %s: %w", s.Addr, err)
}

// ping returns an error unless this very process answers.
func (s *Server) ping() error {
	c, err := redis.Dial("tcp", s.Addr, redis.DialConnectTimeout(time.Second), redis.DialReadTimeout(time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	info, err := redis.String(c.Do("INFO", "server"))
	var answer redis.Error
	switch {
	case errors.As(err, &answer):
		return nil // it wants a password
	case err == nil && !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", s.cmd.Process.Pid)):
		return errors.New("another process answers")
	}
	return err
}

// Dial opens a connection.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", s.Addr)
}

// Pause stops the process: the kernel still accepts connections for it, and
// nothing is answered.
func (s *Server) Pause() { s.signal(stop) }

// Continue ends a Pause. What was sent meanwhile is run, also for clients that
// have gone.
func (s *Server) Continue() { s.signal(cont) }

// Kill ends the process as kill -9 does.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill() // fails when it has ended by itself
	<-s.exited
	s.cmd = nil
}

// Restart kills the process and starts another on the same port. Somebody's
// connection may have that for a moment: it tries more than once.
func (s *Server) Restart() {
	s.t.Helper()
	var err error
	for range 20 {
		s.Kill()
		if err = s.start(); err == nil {
			return
		}
	}
	s.t.Fatalf("redis-server: %v", err)
}

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Errorf("redis-server: %v", err)
	}
}
