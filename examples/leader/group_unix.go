//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup makes cmd the leader of a process group. The group dies with it, see killGroup.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithUs(cmd.SysProcAttr)
}

// terminate asks all processes of the group to end.
func terminate(p *os.Process) { syscall.Kill(-p.Pid, syscall.SIGTERM) }

// killGroup kills all processes of the group.
func killGroup(p *os.Process) { syscall.Kill(-p.Pid, syscall.SIGKILL) }

// groupLives reports whether the group has a process. A zombie counts, too, and so does the process of
// another user.
func groupLives(p *os.Process) bool {
	err := syscall.Kill(-p.Pid, 0)
	return err == nil || err == syscall.EPERM
}

// status returns the exit status of a command, as a shell tells it.
func status(s *os.ProcessState) int {
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return signalled + int(w.Signal())
	}
	return s.ExitCode()
}
