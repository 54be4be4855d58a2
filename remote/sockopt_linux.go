package remote

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// userTimeout bounds how long sent bytes may stay unacknowledged by the host:
// keep-alive probes alone are not sent while data is in flight.
func userTimeout(k KeepAlive) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int((k.Time + k.Timeout).Milliseconds()))
		}); cerr != nil {
			return fmt.Errorf("remote: set user timeout: %w", cerr)
		}
		if err != nil {
			return fmt.Errorf("remote: set user timeout: %w", err)
		}
		return nil
	}
}
