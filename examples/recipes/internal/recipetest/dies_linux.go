package recipetest

import (
	"os/exec"
	"syscall"
)

// dieWithUs has cmd killed when this process dies, however it dies.
func dieWithUs(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
