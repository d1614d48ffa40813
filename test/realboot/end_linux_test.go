package realboot

import (
	"os/exec"
	"syscall"
)

// endWithThread makes the kernel kill the process when the thread that starts
// it ends.
func endWithThread(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
