package remotetest_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/remote/remotetest"
)

type memory struct {
	net  *remotetest.Network
	next atomic.Uint32
}

func (m *memory) New(t *testing.T, id member.NodeID, addr string, b remote.Bounds) remotetest.Subject {
	t.Helper()
	if addr == "" {
		addr = fmt.Sprintf("10.0.0.%d:25520", m.next.Add(1))
	}
	return m.net.NodeWith(member.Node{ID: id, Addr: addr}, b)
}

func (m *memory) Kill(s remotetest.Subject) { m.net.Kill(s.Self()) }

func TestTheNetworkInMemoryIsATransport(t *testing.T) {
	remotetest.Run(t, func(*testing.T) remotetest.Factory {
		return &memory{net: remotetest.NewNetwork(1)}
	})
}
