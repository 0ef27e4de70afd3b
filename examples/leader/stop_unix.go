//go:build unix

package main

import (
	"os"
	"syscall"
)

// canPause says whether this system can pause a process.
const canPause = true

func pause(p *os.Process) error  { return p.Signal(syscall.SIGSTOP) }
func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
