// Package server starts the servers of the comparison, each in a process of its own, so
// that what a server costs is not counted as a client's. It needs Linux.
package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Server is a process that serves on the loopback.
type Server struct {
	Addr string // host:port, or a URL
	name string
	dir  string
	cmd  *exec.Cmd
	done chan error // receives the result of the process
}

// patience is how long a server may take to start.
const patience = 20 * time.Second

// start runs a program that serves on addr, and returns when ready returns nil.
func start(name, addr, dir string, cmd *exec.Cmd, ready func() error) (*Server, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s := &Server{Addr: addr, name: name, dir: dir, cmd: cmd, done: make(chan error, 1)}
	if err := cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() { s.done <- cmd.Wait() }() // joined by Close
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = ready(); err == nil {
			return s, nil
		}
		if len(s.done) > 0 {
			os.RemoveAll(dir)
			return nil, fmt.Errorf("%s ended: %w", name, errors.Join(<-s.done, err))
		}
	}
	return nil, fmt.Errorf("%s did not start: %w", name, errors.Join(err, s.Close()))
}

// Close kills the process and removes its files.
func (s *Server) Close() error {
	s.cmd.Process.Kill()
	<-s.done
	return os.RemoveAll(s.dir)
}

// Stop stops the process, as kill -STOP does. It returns when the process has stopped.
func (s *Server) Stop() error {
	if err := s.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for range 1000 {
		state, err := s.stat(0)
		if err != nil {
			return err
		}
		if state == "T" {
			return nil
		}
		time.Sleep(100 * time.Microsecond)
	}
	return fmt.Errorf("%s does not stop", s.name)
}

// Continue ends a Stop.
func (s *Server) Continue() error { return s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) error {
	if err := s.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// stat returns a field of /proc/PID/stat, counted from the state of the process.
func (s *Server) stat(field int) (string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	return fields[field], nil
}

// CPU returns the CPU time that the threads of the process have used.
func (s *Server) CPU() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, t := range tasks {
		data, err := os.ReadFile(t)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return 0, err
		}
		ran, _, _ := strings.Cut(string(data), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", t, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// tries is how often a server is started, each time on other ports: another process may
// take a port before the server has it.
const tries = 5

// retry calls start until it returns no error.
func retry(start func() (*Server, error)) (s *Server, err error) {
	for range tries {
		if s, err = start(); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// freePort returns a port of the loopback on which nobody listens at the moment, below
// those that the kernel gives to clients.
func freePort() (port int, err error) {
	for range 100 {
		var l net.Listener
		port = 10_000 + rand.IntN(20_000)
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}
