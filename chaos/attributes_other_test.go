//go:build unix && !linux

package chaos

import "syscall"

// processAttributes makes dev a group of its own.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
