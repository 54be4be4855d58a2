//go:build !linux

package remote

import "syscall"

// userTimeout does nothing where the system has no such bound.
func userTimeout(KeepAlive) func(string, string, syscall.RawConn) error { return nil }
