package supervisor

import (
	"os"
	"syscall"
)

// processAttributes keeps Ctrl-C on the terminal away from the nodes, which
// are told to stop in order, and ties their lives to this process.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
