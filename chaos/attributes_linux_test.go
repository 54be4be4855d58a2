package chaos

import "syscall"

// processAttributes makes dev a group of its own that dies with this process; its
// nodes die with it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
