//go:build unix && !linux

package supervisor

import (
	"os"
	"syscall"
)

// processAttributes keeps Ctrl-C on the terminal away from the nodes, which
// are told to stop in order.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
