//go:build !unix

package supervisor

import (
	"os"
	"syscall"
)

func processAttributes() *syscall.SysProcAttr { return nil }

// terminate kills: there is no signal here that a process could handle.
func terminate(p *os.Process) error { return p.Kill() }
