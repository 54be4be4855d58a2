package remote_test

import (
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/remote/remotetest"
)

// overTCP makes endpoints on loopback.
type overTCP struct{ tls remote.TLS }

func (o overTCP) New(t *testing.T, id member.NodeID, addr string, b remote.Bounds) remotetest.Subject {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	e, err := remote.New(remote.Config{Self: member.Node{ID: id, Addr: addr}, Cluster: "test", Bounds: b, TLS: o.tls})
	if err != nil {
		t.Fatalf("New: got %v, want nil", err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func (overTCP) Kill(s remotetest.Subject) {
	if e, ok := s.(*remote.Endpoint); ok {
		e.Kill()
	}
}

func TestAnEndpointIsATransport(t *testing.T) {
	remotetest.Run(t, func(*testing.T) remotetest.Factory { return overTCP{} })
}
