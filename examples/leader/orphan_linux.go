package main

import (
	"os/exec"
	"syscall"
)

// wakeWithUs has a paused process continued when this process dies, so that it finds the end of its
// standard input. Elsewhere, a process that is paused when the demo is killed stays.
func wakeWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGCONT} }

// dieWithUs has a process killed when the thread that starts it ends.
func dieWithUs(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
