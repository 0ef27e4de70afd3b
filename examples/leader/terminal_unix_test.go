//go:build unix

package main

import (
	"os/exec"
	"syscall"
	"testing"
)

// At Ctrl-C, or when it is closed, a terminal sends a signal to the demo and to its
// replicas. The replicas wait for the demo, which knows then that its end is no time
// without a leader.
func testDemoInTerminal(t *testing.T, path string) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP} {
		cmd := exec.Command(path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		p := startCommand(t, cmd)
		p.await(`follows (\w)`, 2)
		if err := syscall.Kill(-p.cmd.Process.Pid, sig); err != nil {
			t.Fatal(err)
		}
		p.end(exitOK)
		p.await(`\b([abc])     has ended: the demo is over`, 3)
		endIsNoGap(p)
	}
}
