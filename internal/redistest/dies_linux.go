package redistest

import (
	"os/exec"
	"syscall"
)

// dieWithUs has cmd killed when this process dies in whatever way.
func dieWithUs(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
