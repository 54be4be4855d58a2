package remote

import (
	"maps"
	"net"
	"slices"
)

// Kill makes the endpoint look to others like a process that was killed:
// nothing listens any more, and all connections end without a farewell.
func (e *Endpoint) Kill() {
	e.closing.Store(true)
	e.mu.Lock()
	inbounds := slices.Collect(maps.Keys(e.inbounds))
	links := slices.Collect(maps.Keys(e.links))
	lanes := slices.Collect(maps.Values(e.lanes))
	e.mu.Unlock()
	_ = e.listener.Close()
	for _, c := range inbounds {
		if tcp, ok := c.raw.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.raw.Close()
	}
	for _, l := range links {
		l.close()
	}
	for _, l := range lanes {
		l.close("killed")
	}
}
