package remotetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
)

type state uint8

const (
	created state = iota // listens, does not answer
	running
	closing // refuses all but probes
	ended   // Run has returned
	killed
)

// Node is the transport of one node on a [Network].
type Node struct {
	net    *Network
	self   member.Node
	bounds remote.Bounds

	deadlines *remote.Deadlines

	// Guarded by net.mu, because others' connections depend on them.
	state      state
	hung       bool
	generation uint64

	mu        sync.Mutex
	launch    func(*lane) // gives a lane a goroutine with the life of Run; nil before Run
	wg        sync.WaitGroup
	stopped   bool // no goroutine may start any more
	handlers  map[remote.Service]remote.Handler
	onLost    func(member.Node)
	lanes     map[laneKey]*lane
	waiting   []*lane // used before Run
	forgotten map[member.NodeID]bool
	wires     map[*wire]struct{}
	inbound   map[inboundKey]*laneConn
	listeners map[string]*listener
}

var _ remote.Transport = (*Node)(nil)

type laneKey struct {
	to    member.NodeID
	class remote.Class
}

type inboundKey struct {
	from  member.NodeID
	class remote.Class
}

func newNode(n *Network, self member.Node, b remote.Bounds) *Node {
	return &Node{
		net: n, self: self, bounds: b.WithDefaults(), deadlines: remote.NewDeadlines(),
		handlers: map[remote.Service]remote.Handler{}, lanes: map[laneKey]*lane{}, forgotten: map[member.NodeID]bool{},
		wires: map[*wire]struct{}{}, inbound: map[inboundKey]*laneConn{}, listeners: map[string]*listener{},
	}
}

// alive reports whether the process exists; net.mu must be held.
func (n *Node) alive() bool { return n.state != ended && n.state != killed }

// judge says why a connection is not accepted; net.mu must be held.
func (n *Node) judge(h hello) error {
	switch {
	case h.probe:
		return nil
	case h.to != n.self.ID:
		return &remote.RefusedError{Refusal: remote.RefusedNode, Text: fmt.Sprintf("%s lives at %s, not %s", n.self.ID, n.self.Addr, h.to)}
	case h.generation != 0 && n.generation != 0 && h.generation != n.generation:
		return &remote.RefusedError{Refusal: remote.RefusedGeneration, Text: fmt.Sprintf("%s is in generation %d, the caller in %d", n.self, n.generation, h.generation)}
	case n.state == closing:
		return &remote.RefusedError{Refusal: remote.RefusedClosing, Text: n.self.String() + " is shutting down"}
	}
	return nil
}

// SetGeneration sets the generation that new connections name. Connections
// with nodes of another generation break; 0 goes with any.
func (n *Node) SetGeneration(g uint64) {
	n.net.change(func() { n.generation = g })
	n.mu.Lock()
	wires := maps.Clone(n.wires)
	n.mu.Unlock()
	for w := range wires {
		n.net.mu.Lock()
		a, b := w.a.generation, w.b.generation
		n.net.mu.Unlock()
		if a != 0 && b != 0 && a != b {
			w.sever(true)
		}
	}
}

// Generation returns what SetGeneration set.
func (n *Node) Generation() uint64 {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	return n.generation
}

// Self implements [remote.Transport].
func (n *Node) Self() member.Node { return n.self }

// Handle implements [remote.Transport].
func (n *Node) Handle(s remote.Service, h remote.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handlers[s] = h
}

// OnLost implements [remote.Transport].
func (n *Node) OnLost(f func(peer member.Node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onLost = f
}

// Lane implements [remote.Transport].
func (n *Node) Lane(to member.Node, c remote.Class) remote.Lane {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := laneKey{to.ID, c}
	l := n.lanes[k]
	if l == nil {
		l = newLane(n, to, c)
		if n.stopped || n.forgotten[to.ID] {
			l.close("the node is gone for good")
		} else {
			n.lanes[k] = l
		}
	}
	return l
}

// Ask implements [remote.Transport].
func (n *Node) Ask(ctx context.Context, to member.Node, s remote.Service, payload []byte) ([]byte, error) {
	l, _ := n.Lane(to, remote.Control).(*lane)
	l.begin()
	return l.out.Ask(ctx, s, payload)
}

// Probe implements [remote.Transport].
func (n *Node) Probe(ctx context.Context, to member.Node) remote.Evidence {
	found, err := n.net.dial(ctx, hello{from: n, to: to.ID, addr: to.Addr, probe: true})
	switch {
	case errors.Is(err, errRefused):
		return remote.Refused
	case err != nil:
		return remote.Unknown
	case found.self.ID != to.ID:
		return remote.Replaced
	}
	return remote.Alive
}

// Identify asks who lives at an address.
func (n *Node) Identify(ctx context.Context, addr string) (remote.Identity, error) {
	found, err := n.net.dial(ctx, hello{from: n, addr: addr, probe: true})
	if err != nil {
		return remote.Identity{}, fmt.Errorf("remotetest: identify %s: %w", addr, err)
	}
	return remote.Identity{Node: found.self, Generation: found.Generation()}, nil
}

// ProbeAddr asks which node lives at an address.
func (n *Node) ProbeAddr(ctx context.Context, addr string) (member.Node, error) {
	id, err := n.Identify(ctx, addr)
	return id.Node, err
}

// AskAddr asks whatever node lives at an address, as a node without generation.
func (n *Node) AskAddr(ctx context.Context, addr string, s remote.Service, payload []byte) ([]byte, error) {
	to, err := n.ProbeAddr(ctx, addr)
	if err != nil {
		return nil, &remote.Error{Code: remote.CodeNotSent, Text: err.Error(), Err: err}
	}
	l := newLane(n, to, remote.Control)
	l.once = true
	l.begin()
	defer l.close("the ask is over")
	return l.out.Ask(ctx, s, payload)
}

// Forget implements [remote.Transport].
func (n *Node) Forget(id member.NodeID) {
	n.mu.Lock()
	n.forgotten[id] = true
	var gone []*lane
	for k, l := range n.lanes {
		if k.to == id {
			gone = append(gone, l)
			delete(n.lanes, k)
		}
	}
	n.mu.Unlock()
	for _, l := range gone {
		l.close("the node was forgotten")
	}
}

// DialStream implements [remote.Transport].
func (n *Node) DialStream(ctx context.Context, to member.Node, purpose string) (net.Conn, error) {
	found, err := n.net.dial(ctx, hello{from: n, to: to.ID, addr: to.Addr, generation: n.Generation()})
	if err != nil {
		return nil, fmt.Errorf("remotetest: open stream %q to %s: %w", purpose, to, err)
	}
	return found.accept(n, purpose)
}

// AcceptStreams implements [remote.Transport].
func (n *Node) AcceptStreams(purpose string) net.Listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.listeners[purpose]
	if l == nil {
		l = newListener(n.self.Addr)
		n.listeners[purpose] = l
	}
	return l
}

// Run implements [remote.Transport].
func (n *Node) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	n.mu.Lock()
	twice := n.launch != nil
	var waiting []*lane
	if !twice {
		// Before others can reach the node, or what happens then is not passed on.
		n.launch = func(l *lane) { n.wg.Go(func() { l.run(work) }) }
		waiting, n.waiting = n.waiting, nil
	}
	n.mu.Unlock()
	if twice {
		return errors.New("remotetest: Run was called twice")
	}
	n.net.change(func() {
		if n.state == created {
			n.state = running
		}
	})
	n.spawn(func() { n.deadlines.Run(work) })
	for _, l := range waiting {
		n.start(l)
	}
	<-ctx.Done()
	n.net.change(func() {
		if n.state == running {
			n.state = closing
		}
	})
	n.mu.Lock()
	n.stopped = true
	wires, listeners := maps.Clone(n.wires), maps.Clone(n.listeners)
	n.mu.Unlock()
	n.closeLanes("the transport was stopped")
	for w := range wires {
		w.sever(true)
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	stop()
	n.wg.Wait()
	n.net.change(func() {
		if n.state == closing {
			n.state = ended
		}
	})
	return nil
}

func (n *Node) closeLanes(text string) {
	n.mu.Lock()
	lanes := maps.Clone(n.lanes)
	n.mu.Unlock()
	for _, l := range lanes {
		l.close(text)
	}
}

// spawn starts a goroutine that Run waits for, unless Run is over.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped || n.launch == nil {
		return false
	}
	n.wg.Go(f)
	return true
}

// start runs a lane, as soon as Run is there. It reports false when Run is over.
func (n *Node) start(l *lane) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.stopped:
		return false
	case n.launch == nil:
		n.waiting = append(n.waiting, l)
	default:
		n.launch(l)
	}
	return true
}

// condition returns the state of the node.
func (n *Node) condition() state {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	return n.state
}

func (n *Node) attach(w *wire) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wires[w] = struct{}{}
}

func (n *Node) detach(w *wire) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.wires, w)
}

func (n *Node) lost(peer member.Node) {
	n.mu.Lock()
	f := n.onLost
	n.mu.Unlock()
	n.net.mu.Lock()
	alive := n.state == running
	n.net.mu.Unlock()
	if f != nil && alive {
		n.spawn(func() { f(peer) })
	}
}

func (n *Node) handler(s remote.Service) remote.Handler {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.handlers[s]
}
