package holdfast

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"

	"github.com/holdfast-go/holdfast/actor"
	"github.com/holdfast-go/holdfast/bootstrap"
	"github.com/holdfast-go/holdfast/bootstrap/discovery/static"
	"github.com/holdfast-go/holdfast/cluster"
	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/coordinatedshutdown"
	"github.com/holdfast-go/holdfast/httpapi"
	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/sharding"
)

// Node is one running process of a cluster. It is a sharding.Router: pass it
// to Method.Ask.
type Node struct {
	*sharding.Regions

	cfg      Config
	log      *slog.Logger
	types    map[string]int
	actors   *actor.System
	endpoint *remote.Endpoint
	cluster  *cluster.Cluster
	boot     *bootstrap.Bootstrap
	health   *httpapi.Health
	mgmt     *httpapi.Server
	api      *httpapi.Server
	shutdown *coordinatedshutdown.Shutdown

	gateCluster, gateHTTP, gateDrain *httpapi.Gate

	mu    sync.Mutex // guards parts and api
	parts map[string]*part
	stop  sync.Once
	done  chan struct{}
}

// part is something that runs until it is stopped.
type part struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// Start brings a node up and into its cluster: see the package comment for the
// steps. ctx bounds the start only. When Start fails everything it began has
// been stopped; the error is a *StartError.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &StartError{"configuration", coordinatedshutdown.Incompatible, err}
	}
	n, err := build(ctx, cfg.withDefaults())
	if err != nil {
		return nil, err
	}
	n.begin() //nolint:contextcheck // ctx bounds the start only
	if err := n.enter(ctx); err != nil {
		reason := coordinatedshutdown.JoinFailed
		if se, ok := errors.AsType[*StartError](err); ok {
			reason = se.Reason
		}
		// The start has failed; its context may be the reason.
		_ = n.run(context.WithoutCancel(ctx), reason)
		return nil, err
	}
	return n, nil
}

// build makes all parts and binds the ports of cluster and management.
func build(ctx context.Context, cfg Config) (*Node, error) {
	n := &Node{cfg: cfg, log: cfg.Logger, types: map[string]int{}, parts: map[string]*part{}, done: make(chan struct{})}
	fail := func(step string, reason coordinatedshutdown.Reason, err error) (*Node, error) {
		if n.endpoint != nil {
			err = errors.Join(err, n.endpoint.Close())
		}
		if n.mgmt != nil {
			n.mgmt.Unbind()
		}
		return nil, &StartError{step, reason, err}
	}
	entities, err := n.bind(cfg)
	if err != nil {
		return fail("configuration", coordinatedshutdown.Incompatible, err)
	}
	n.endpoint, err = remote.New(remote.Config{ //nolint:contextcheck // ctx bounds the start only
		Self:     member.Node{ID: newNodeID(), Addr: hostPort(cfg.Host, cfg.ClusterPort)},
		BindAddr: hostPort(cfg.BindHost, cfg.ClusterPort), Cluster: cfg.Cluster, TLS: cfg.TLS, Logger: n.log,
	})
	if err != nil {
		return fail("cluster port", coordinatedshutdown.BindFailed, err)
	}
	self := member.Member{Node: n.endpoint.Self(), Zone: cfg.Zone, Roles: cfg.Roles, AppVersion: cfg.AppVersion}
	n.log = n.log.With(slog.String("node", string(self.ID)))
	if err := n.compose(self, entities); err != nil {
		return fail("configuration", coordinatedshutdown.Incompatible, err)
	}
	n.health = httpapi.NewHealth(httpapi.HealthConfig{})
	n.gateCluster = n.health.Gate("cluster", "not in a cluster yet")
	if cfg.HTTP != nil {
		n.gateHTTP = n.health.Gate("application port", "not bound yet")
	}
	n.gateDrain = n.health.Gate("shutdown", "")
	n.gateDrain.Open()
	if err := n.addChecks(); err != nil {
		return fail("configuration", coordinatedshutdown.Internal, err)
	}
	n.mgmt, err = httpapi.New(ctx, httpapi.Config{
		Addr: hostPort(cfg.BindHost, cfg.ManagementPort), Health: n.health, Cluster: sources{n}, Shards: sources{n},
		SeedNodes: bootstrap.SeedNodesHandler(n.seedNodes), Logger: n.log,
	})
	if err != nil {
		return fail("management port", coordinatedshutdown.BindFailed, err)
	}
	if err := n.makeBootstrap(self.Node); err != nil {
		return fail("configuration", coordinatedshutdown.Incompatible, err)
	}
	return n, nil
}

// bind binds durable types to the journal and learns the types' shard counts.
func (n *Node) bind(cfg Config) ([]sharding.Entity, error) {
	entities := make([]sharding.Entity, len(cfg.Entities))
	for i, e := range cfg.Entities {
		if b, ok := e.(persistence.Bindable); ok {
			if cfg.Journal == nil {
				return nil, fmt.Errorf("%w: entity type %q", ErrNoJournal, e.Definition().Name)
			}
			e = b.BindStore(cfg.Journal, persistence.BindOptions{Logger: n.log})
		}
		entities[i] = e
		d := e.Definition()
		n.types[d.Name] = cmp.Or(d.Shards, sharding.DefaultShards)
	}
	return entities, nil
}

// compose makes actors, cluster, regions and the shutdown.
func (n *Node) compose(self member.Member, entities []sharding.Entity) error {
	cfg := n.cfg
	cc := cluster.Config{
		Cluster: cfg.Cluster, Self: self, Transport: n.endpoint, Types: n.types, Timing: cfg.Timing, Logger: n.log,
		Settings: map[string]string{"protocol": protocolVersion, "shard hash": "fnv-1a-64", "session ttl": cfg.Timing.SessionTTL.String()},
	}
	if cfg.Journal != nil {
		cc.Arbiter = arbiter{cfg.Journal, cfg.Cluster}
	}
	var err error
	if n.cluster, err = cluster.New(cc); err != nil {
		return err
	}
	if n.actors, err = actor.NewSystem(actor.Config{Logger: n.log}); err != nil {
		return err
	}
	if n.Regions, err = sharding.NewRegions(sharding.Config{
		Cluster: regionCluster{n.cluster}, Transport: n.endpoint, Actors: n.actors, Entities: entities,
		BarrierTimeout: cfg.Handoff.Barrier, DrainTimeout: cfg.Handoff.Drain, Logger: n.log,
	}); err != nil {
		return err
	}
	cfg.Shutdown.Logger = n.log
	if n.shutdown, err = coordinatedshutdown.New(cfg.Shutdown); err != nil {
		return err
	}
	return n.addTasks()
}

// protocolVersion is the version of what nodes say to each other about
// membership and shards.
const protocolVersion = "1"

func (n *Node) makeBootstrap(self member.Node) error {
	d := n.cfg.Discovery
	if d == nil {
		var err error
		if d, err = static.Parse(n.ManagementAddr()); err != nil {
			return err
		}
	}
	c := bootstrap.Config{
		Node: self, Cluster: n.cfg.Cluster, Management: n.ManagementAddr(), Discovery: d,
		Settings: n.cfg.Bootstrap, ProbeInterval: n.cfg.ProbeInterval, Logger: n.log,
	}
	if n.cfg.Discovery == nil {
		c.DiscoverInterval, c.ProbeInterval = n.cfg.ProbeInterval, n.cfg.ProbeInterval
	}
	var err error
	n.boot, err = bootstrap.New(c)
	return err
}

// begin starts everything that runs for the life of the node.
func (n *Node) begin() {
	n.start("transport", n.endpoint.Run)
	n.start("cluster", n.cluster.Run)
	n.start("regions", n.Run)
	n.start("management", n.mgmt.Run)
	go n.watch()
}

func (n *Node) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{cancel: cancel, done: make(chan struct{})}
	n.mu.Lock()
	n.parts[name] = p
	n.mu.Unlock()
	go func() {
		defer close(p.done)
		if p.err = run(ctx); p.err != nil {
			n.log.Error("part of the node ended with an error", slog.String("part", name), slog.String("error", p.err.Error()))
		}
	}()
}

// enter joins or forms the cluster and binds the application's port.
func (n *Node) enter(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-n.shutdown.Started():
			cancel(errors.New("the node is shutting down"))
		case <-ctx.Done():
		}
	}()
	if err := n.boot.Run(ctx, joiner{n.cluster}); err != nil {
		reason := coordinatedshutdown.JoinFailed
		var final interface{ Final() bool }
		if errors.As(err, &final) && final.Final() {
			reason = coordinatedshutdown.Incompatible
		}
		return &StartError{"bootstrap", reason, err}
	}
	n.gateCluster.Open()
	if n.cfg.HTTP != nil {
		api, err := httpapi.Listen(ctx, httpapi.ServerConfig{
			Name: "application", Addr: n.cfg.HTTP.Addr, Handler: n.cfg.HTTP.Handler(n), Logger: n.log,
		})
		if err != nil {
			return &StartError{"application port", coordinatedshutdown.BindFailed, err}
		}
		n.mu.Lock()
		n.api = api
		n.mu.Unlock()
		n.start("application", api.Run) //nolint:contextcheck // ctx bounds the start only
		n.gateHTTP.Open()
	}
	n.log.InfoContext(ctx, "node is ready", slog.String("addr", n.endpoint.Self().Addr), slog.String("management", n.ManagementAddr()), slog.Uint64("generation", n.cluster.View().Generation))
	return nil
}

// watch shuts the node down when its membership ends or a part of it fails.
func (n *Node) watch() {
	reason := coordinatedshutdown.Internal
	select {
	case err := <-n.cluster.Ended():
		reason = endReason(err)
	case <-n.part("transport").done:
	case <-n.part("management").done:
	case <-n.shutdown.Started():
		return
	}
	_ = n.run(context.Background(), reason) // reported by the shutdown's own log line
}

// Self returns this node's identity and cluster address.
func (n *Node) Self() member.Node { return n.endpoint.Self() }

// View returns the membership as this node knows it.
func (n *Node) View() *member.View { return n.cluster.View() }

// Ready reports whether the node would answer /ready with 200, and why not.
func (n *Node) Ready(ctx context.Context) (bool, httpapi.Report) {
	r := n.health.Ask(ctx, httpapi.Ready)
	return r.Status == "ok", r
}

// ManagementAddr is the host:port at which the management server is reached.
func (n *Node) ManagementAddr() string {
	_, p, err := net.SplitHostPort(n.mgmt.Addr())
	if err != nil {
		return n.mgmt.Addr()
	}
	return net.JoinHostPort(n.cfg.Host, p)
}

// APIAddr is the host:port that the application's server listens at, "" when
// there is none.
func (n *Node) APIAddr() string {
	if api := n.server(); api != nil {
		return api.Addr()
	}
	return ""
}

func (n *Node) server() *httpapi.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.api
}

func (n *Node) part(name string) *part {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.parts[name]
}

func (n *Node) seedNodes() bootstrap.SeedNodes {
	v := n.cluster.View()
	self := n.endpoint.Self()
	return bootstrap.SeedNodes{
		Self:    bootstrap.Contact{ID: self.ID, Addr: self.Addr, Management: n.ManagementAddr()},
		Cluster: n.cfg.Cluster, Generation: v.Generation, SeedNodes: bootstrap.SeedsOf(*v),
	}
}

func newNodeID() member.NodeID {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return member.NodeID(hex.EncodeToString(b[:]))
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
