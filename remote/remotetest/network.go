package remotetest

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
)

// dialTimeout is how long a dial or probe waits for an answer.
const dialTimeout = 3 * time.Second

// Network connects nodes in memory.
type Network struct {
	mu         sync.Mutex
	rnd        *rand.Rand
	nodes      map[string]*Node // the latest node at each address
	faults     map[path]fault
	breakAfter time.Duration
	changed    chan struct{} // closed and replaced when anything changes
}

type path struct{ from, to string }

type fault struct {
	cut   bool
	drop  float64
	delay time.Duration
}

// NewNetwork returns a network without nodes and faults. The seed decides
// which messages Drop takes.
func NewNetwork(seed uint64) *Network {
	return &Network{
		rnd:        rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)),
		nodes:      map[string]*Node{},
		faults:     map[path]fault{},
		breakAfter: 8 * time.Second,
		changed:    make(chan struct{}),
	}
}

// Node returns the transport of a new node. It listens at once, and answers
// once it runs. A node that was at the address before must have been killed or
// have ended; it is replaced.
func (n *Network) Node(self member.Node) *Node { return n.NodeWith(self, remote.Bounds{}) }

// NodeWith is Node with bounds other than the default ones.
func (n *Network) NodeWith(self member.Node, b remote.Bounds) *Node {
	t := newNode(n, self, b)
	n.change(func() { n.nodes[self.Addr] = t })
	return t
}

// BreakAfter sets how long a path must be cut for its connections to break.
// Defaults to 8 s.
func (n *Network) BreakAfter(d time.Duration) { n.change(func() { n.breakAfter = d }) }

// Drop loses messages and replies of lanes on the way with probability p.
func (n *Network) Drop(from, to member.Node, p float64) {
	n.fault(from, to, func(f *fault) { f.drop = p })
}

// Delay holds back whatever travels on the way for d.
func (n *Network) Delay(from, to member.Node, d time.Duration) {
	n.fault(from, to, func(f *fault) { f.delay = d })
}

// Cut lets nothing through in either direction.
func (n *Network) Cut(a, b member.Node) {
	n.CutOneWay(a, b)
	n.CutOneWay(b, a)
}

// CutOneWay lets nothing through from one node to the other.
func (n *Network) CutOneWay(from, to member.Node) {
	n.fault(from, to, func(f *fault) { f.cut = true })
}

// Mend ends a cut of the path from one node to the other; delay and loss stay.
func (n *Network) Mend(from, to member.Node) {
	n.fault(from, to, func(f *fault) { f.cut = false })
}

// Heal removes all faults of the paths. Killed and hung nodes stay so.
func (n *Network) Heal() { n.change(func() { clear(n.faults) }) }

// Kill ends a node as SIGKILL ends a process: what it does is never seen again,
// its address refuses connections, and its connections break.
func (n *Network) Kill(node member.Node) {
	t := n.at(node)
	if t == nil {
		return
	}
	n.change(func() { t.state = killed })
	t.closeLanes("the node was killed")
}

// Hang stops a node as SIGSTOP stops a process: it neither answers nor refuses.
// Code that runs on the node goes on, but nothing it sends leaves it.
func (n *Network) Hang(node member.Node) { n.setHung(node, true) }

// Resume ends Hang.
func (n *Network) Resume(node member.Node) { n.setHung(node, false) }

func (n *Network) setHung(node member.Node, hung bool) {
	if t := n.at(node); t != nil {
		n.change(func() { t.hung = hung })
	}
}

func (n *Network) at(node member.Node) *Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.nodes[node.Addr]; t != nil && t.self.ID == node.ID {
		return t
	}
	return nil
}

func (n *Network) fault(from, to member.Node, set func(*fault)) {
	n.change(func() {
		f := n.faults[path{from.Addr, to.Addr}]
		set(&f)
		n.faults[path{from.Addr, to.Addr}] = f
	})
}

// change runs f under the lock and wakes whoever waits for the network.
func (n *Network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// delivers reports whether something on the way from one node reaches the
// other now, and the channel that closes when that may have changed.
func (n *Network) delivers(from, to *Node) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.faults[path{from.self.Addr, to.self.Addr}].cut && !to.hung && to.alive(), n.changed
}

// sends reports whether a node gets anything out, and the channel that closes
// when that may have changed.
func (n *Network) sends(from *Node) (bool, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !from.hung && from.alive(), n.changed
}

// admit draws the fate of one message.
func (n *Network) admit(from, to *Node) (arrives time.Time, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.faults[path{from.self.Addr, to.self.Addr}]
	return time.Now().Add(f.delay), f.drop == 0 || n.rnd.Float64() >= f.drop
}

type hello struct {
	from       *Node
	to         member.NodeID // "" in a probe of an address
	addr       string
	generation uint64
	probe      bool
}

// dial opens a connection: it waits until the path is open both ways and the
// process at the address answers.
func (n *Network) dial(ctx context.Context, h hello) (*Node, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
	defer cancel()
	n.mu.Lock()
	delay := n.faults[path{h.from.self.Addr, h.addr}].delay + n.faults[path{h.addr, h.from.self.Addr}].delay
	n.mu.Unlock()
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	for {
		to, changed, err := n.answer(h)
		if to != nil || err != nil {
			return to, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// answer says what a connection attempt gets at this moment: nothing, when
// neither a node nor an error is returned.
func (n *Network) answer(h hello) (*Node, <-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.faults[path{h.from.self.Addr, h.addr}].cut || n.faults[path{h.addr, h.from.self.Addr}].cut || h.from.hung || !h.from.alive() {
		return nil, n.changed, nil
	}
	to := n.nodes[h.addr]
	switch {
	case to == nil || !to.alive():
		return nil, n.changed, errRefused
	case to.hung || to.state == created:
		return nil, n.changed, nil
	}
	return to, n.changed, to.judge(h)
}
