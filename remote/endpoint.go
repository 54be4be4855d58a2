package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// maxForgotten is the number of forgotten incarnations that are remembered, so
// that a late Lane call does not reach out for them again.
const maxForgotten = 4096

// Endpoint is the gRPC [Transport]: one TCP port for everything.
type Endpoint struct {
	cfg       Config
	self      member.Node
	log       *slog.Logger
	serverTLS *tls.Config
	clientTLS *tls.Config
	dialer    *net.Dialer
	listener  net.Listener
	deadlines *Deadlines
	buffers   bufferPool

	generation atomic.Uint64
	closing    atomic.Bool // Run's context ended
	handlers   atomic.Pointer[map[Service]Handler]

	virtual    *virtualListener // accepted connections that speak HTTP/2
	handshakes chan struct{}    // a token for each connection in its handshake
	conns      chan struct{}    // a token for each accepted connection

	mu        sync.Mutex
	launch    func(*lane) // gives a lane a goroutine with the life of Run; nil before Run
	wg        sync.WaitGroup
	stopped   bool // no goroutine may start any more
	onLost    func(member.Node)
	losing    map[member.NodeID]bool // OnLost runs; true: once more
	lanes     map[laneKey]*lane
	waiting   []*lane         // used before Run
	forgotten []member.NodeID // oldest first
	incoming  map[laneKey]*laneStream
	links     map[*link]struct{}
	inbounds  map[*inbound]struct{}
	listeners map[string]*streamListener
}

var _ Transport = (*Endpoint)(nil)

type laneKey struct {
	id    member.NodeID
	class Class
}

// link is an established connection with a node.
type link struct {
	with       member.Node
	generation uint64 // of the node, as it said in the handshake
	close      func()
}

// New validates the configuration and binds the port. Until Run, connections
// wait in the backlog. Call Close when Run will not be called.
func New(cfg Config) (*Endpoint, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	e := &Endpoint{
		cfg: cfg, self: cfg.Self, log: cfg.Logger, deadlines: NewDeadlines(),
		handshakes: make(chan struct{}, cfg.MaxHandshakes), conns: make(chan struct{}, cfg.MaxConnections),
		losing: map[member.NodeID]bool{}, lanes: map[laneKey]*lane{}, incoming: map[laneKey]*laneStream{},
		links: map[*link]struct{}{}, inbounds: map[*inbound]struct{}{}, listeners: map[string]*streamListener{},
	}
	e.handlers.Store(&map[Service]Handler{})
	e.generation.Store(cfg.Generation)
	var err error
	if e.serverTLS, e.clientTLS, err = cfg.TLS.load(cfg.Logger); err != nil {
		return nil, err
	}
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: cfg.KeepAlive.Time, Interval: cfg.KeepAlive.Timeout / 3, Count: 3}
	e.dialer = &net.Dialer{KeepAliveConfig: keepAlive, Control: userTimeout(cfg.KeepAlive)}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive, Control: userTimeout(cfg.KeepAlive)}
	e.listener, err = lc.Listen(context.Background(), "tcp", cfg.BindAddr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("remote: %s is in use: stop the process that listens there, or set BindAddr to another port: %w", cfg.BindAddr, err)
	}
	if err != nil {
		return nil, fmt.Errorf("remote: listen on BindAddr %s: %w", cfg.BindAddr, err)
	}
	if host, port, _ := net.SplitHostPort(e.self.Addr); port == "0" {
		_, bound, err := net.SplitHostPort(e.listener.Addr().String())
		if err != nil {
			_ = e.listener.Close()
			return nil, fmt.Errorf("remote: bound address %s: %w", e.listener.Addr(), err)
		}
		e.self.Addr = net.JoinHostPort(host, bound)
	}
	e.virtual = newVirtualListener(e.listener.Addr())
	return e, nil
}

// Close releases the port of an endpoint that never runs.
func (e *Endpoint) Close() error { return e.listener.Close() }

// Self implements [Transport].
func (e *Endpoint) Self() member.Node { return e.self }

// Generation returns the generation that new connections name.
func (e *Endpoint) Generation() uint64 { return e.generation.Load() }

// SetGeneration sets the generation of the cluster this node is in. Lanes and
// streams connect only nodes of one generation; 0, a node in no cluster yet,
// goes with any. Connections with nodes of another generation are closed.
func (e *Endpoint) SetGeneration(g uint64) {
	e.generation.Store(g)
	e.mu.Lock()
	links := slices.Collect(maps.Keys(e.links))
	e.mu.Unlock()
	for _, l := range links {
		if g != 0 && l.generation != 0 && l.generation != g {
			l.close()
		}
	}
}

// Handle implements [Transport].
func (e *Endpoint) Handle(s Service, h Handler) {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := maps.Clone(*e.handlers.Load())
	next[s] = h
	e.handlers.Store(&next)
}

// OnLost implements [Transport]. f runs at most once at a time for a node and
// should return soon after Run's context ends: Run waits for it. A stream that
// the other node closes in good order counts as broken, too.
func (e *Endpoint) OnLost(f func(peer member.Node)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onLost = f
}

// Lane implements [Transport].
func (e *Endpoint) Lane(to member.Node, c Class) Lane { return e.lane(to, c) }

func (e *Endpoint) lane(to member.Node, c Class) *lane {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := laneKey{to.ID, c}
	if l := e.lanes[k]; l != nil {
		return l
	}
	l := newLane(e, to, c, purposeLane)
	switch {
	case e.stopped || e.closing.Load():
		l.close("the endpoint was stopped")
	case slices.Contains(e.forgotten, to.ID):
		l.close("the node was forgotten")
	default:
		e.lanes[k] = l
	}
	return l
}

// Ask implements [Transport].
func (e *Endpoint) Ask(ctx context.Context, to member.Node, s Service, payload []byte) ([]byte, error) {
	l := e.lane(to, Control)
	l.begin()
	return l.out.Ask(ctx, s, payload)
}

// Forget implements [Transport].
func (e *Endpoint) Forget(id member.NodeID) {
	e.mu.Lock()
	if !slices.Contains(e.forgotten, id) {
		if len(e.forgotten) == maxForgotten {
			e.forgotten = slices.Delete(e.forgotten, 0, 1)
		}
		e.forgotten = append(e.forgotten, id)
	}
	var gone []*lane
	for k, l := range e.lanes {
		if k.id == id {
			gone = append(gone, l)
			delete(e.lanes, k)
		}
	}
	e.mu.Unlock()
	for _, l := range gone {
		l.close("the node was forgotten")
	}
}

// connected registers an established connection.
func (e *Endpoint) connected(with member.Node, generation uint64, closeConn func()) *link {
	l := &link{with: with, generation: generation, close: closeConn}
	e.mu.Lock()
	e.links[l] = struct{}{}
	stopped := e.stopped
	e.mu.Unlock()
	// The generation may have changed, or Run ended, since the handshake.
	if g := e.generation.Load(); stopped || g != 0 && generation != 0 && g != generation {
		closeConn()
	}
	return l
}

// disconnected takes a connection off the register, once; lost says that this
// side did not mean to end it.
func (e *Endpoint) disconnected(l *link, lost bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.links[l]; !ok {
		return
	}
	delete(e.links, l)
	if lost && !e.closing.Load() {
		e.reportLost(l.with)
	}
}

// reportLost runs OnLost for a node; mu must be held.
func (e *Endpoint) reportLost(n member.Node) {
	if e.onLost == nil || e.stopped || e.launch == nil {
		return
	}
	if _, runs := e.losing[n.ID]; runs {
		e.losing[n.ID] = true
		return
	}
	e.losing[n.ID] = false
	f := e.onLost
	e.wg.Go(func() {
		for again := true; again; {
			f(n)
			e.mu.Lock()
			if again = e.losing[n.ID]; again {
				e.losing[n.ID] = false
			} else {
				delete(e.losing, n.ID)
			}
			e.mu.Unlock()
		}
	})
}

// spawn starts a goroutine that Run waits for, unless Run is over.
func (e *Endpoint) spawn(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped || e.launch == nil {
		return false
	}
	e.wg.Go(f)
	return true
}

// start runs a lane, as soon as Run is there. It reports false when Run is over.
func (e *Endpoint) start(l *lane) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.stopped:
		return false
	case e.launch == nil:
		e.waiting = append(e.waiting, l)
	default:
		e.launch(l)
	}
	return true
}

// server returns the gRPC server that carries the lanes.
func (e *Endpoint) server() *grpc.Server {
	s := grpc.NewServer(e.serverOptions()...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: lanesService,
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: lanesMethod, ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, s grpc.ServerStream) error { return e.serveLane(s) },
		}},
	}, e)
	return s
}
