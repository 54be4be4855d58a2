package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// Transport is what the cluster needs from package remote.
type Transport interface {
	remote.Transport
	// ProbeAddr asks which node answers at an address.
	ProbeAddr(ctx context.Context, addr string) (member.Node, error)
	// SetGeneration tells the transport which generation this node belongs to;
	// connections of other generations are refused from then on.
	SetGeneration(g uint64)
}

// Services of the cluster on the control lanes.
const (
	serviceRenew   remote.Service = "cluster/renew"
	serviceJoin    remote.Service = "cluster/join"
	servicePush    remote.Service = "cluster/push"
	servicePropose remote.Service = "cluster/propose"
	serviceSuspect remote.Service = "cluster/suspect"
	serviceFloor   remote.Service = "cluster/floor"
)

// Cluster is this node's part in the cluster. New it, Run it, and then Join or
// Form through it.
type Cluster struct {
	cfg      Config
	log      *slog.Logger
	t        Transport
	self     member.Node
	replica  *replica
	session  session
	trans    *raftTransport
	streams  net.Listener
	ended    chan error
	endOnce  sync.Once
	over     chan struct{} // closed when ended has its reason
	overWhy  error
	requests chan struct{} // bounds the goroutines that serve requests
	left     chan struct{} // closed when the cluster has let this node go
	leftOnce sync.Once
	exiting  atomic.Bool // this node asked to be removed

	mu      sync.Mutex
	running context.Context //nolint:containedctx // the lifetime of Run, for what starts later
	tasks   sync.WaitGroup
	raft    *raft.Raft
	holdOff time.Time // no sessions before this moment (after a formation)
	// patience is when the voters of the claim at version patienceFor count as dead.
	patience    time.Time
	patienceFor uint64
	probing     map[member.NodeID]bool
	dead        map[member.NodeID]bool // proved dead, as far as this node knows

	generation atomic.Uint64
	leading    atomic.Pointer[leadership]
}

// New validates the configuration and registers with the transport.
func New(cfg Config) (*Cluster, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Cluster{
		cfg:      cfg,
		log:      cfg.Logger,
		t:        cfg.Transport,
		self:     cfg.Self.Node,
		replica:  newReplica(),
		ended:    make(chan error, 1),
		over:     make(chan struct{}),
		requests: make(chan struct{}, 64),
		left:     make(chan struct{}),
		probing:  map[member.NodeID]bool{},
		dead:     map[member.NodeID]bool{},
	}
	c.session.init(cfg.Timing)
	c.streams = c.t.AcceptStreams(raftPurpose)
	c.handle()
	c.t.OnLost(c.lost)
	return c, nil
}

// Run owns every goroutine of the cluster and returns after the last has ended.
func (c *Cluster) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.running != nil {
		c.mu.Unlock()
		return errors.New("cluster: Run was called before")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.running = ctx
	c.mu.Unlock()

	<-ctx.Done()
	c.session.end()
	c.mu.Lock()
	r, t := c.raft, c.trans
	c.mu.Unlock()
	var err error
	if r != nil {
		err = r.Shutdown().Error()
		t.CloseStreams()
		err = errors.Join(err, t.Close())
	}
	c.tasks.Wait()
	return err
}

// spawn runs f until it returns; f must return soon after its context ends. It
// does nothing when Run has not started or is over.
func (c *Cluster) spawn(f func(ctx context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil || c.running.Err() != nil {
		return false
	}
	ctx := c.running
	c.tasks.Go(func() { f(ctx) })
	return true
}

// Ended delivers the reason, once, when the cluster no longer wants this node
// or this node gives up.
func (c *Cluster) Ended() <-chan error { return c.ended }

func (c *Cluster) end(reason error) {
	c.endOnce.Do(func() {
		c.session.end()
		c.log.Error("membership ended", slog.String("reason", reason.Error()), slog.Uint64("generation", c.generation.Load()))
		c.overWhy = reason
		close(c.over)
		c.ended <- reason
	})
}

// Self returns this node.
func (c *Cluster) Self() member.Node { return c.self }

// SessionValid reports whether this node may execute entities right now.
func (c *Cluster) SessionValid() bool { return c.session.valid() }

// View returns the membership as this node knows it.
func (c *Cluster) View() *member.View { return c.replica.view.Load() }

// Leads reports whether this node believes it leads. It is for display only:
// nothing may be decided by it.
func (c *Cluster) Leads() bool { return c.leading.Load() != nil }

// Shards returns a copy of the rows of an entity type, false for an unknown one.
func (c *Cluster) Shards(typeName string) ([]placement.Shard, bool) {
	var rows []placement.Shard
	var ok bool
	c.replica.read(func(t *table.Table) {
		if have := t.Shards.Shards(typeName); have != nil {
			rows, ok = append(rows, have...), true
		}
	})
	return rows, ok
}

// Observe registers o for the table: see [Observer].
func (c *Cluster) Observe(o Observer) { c.replica.observe(o) }

// Status returns this node's own status in the table, false when it is not in it.
func (c *Cluster) Status() (member.Status, bool) {
	m, ok := c.View().Find(c.self.ID)
	return m.Status, ok
}

// start makes this node a raft server of a generation. With bootstrap it is
// the first and only voter.
func (c *Cluster) start(generation uint64, bootstrap bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil || c.running.Err() != nil {
		return ErrNotRunning
	}
	if c.raft != nil {
		return fmt.Errorf("cluster: this node belongs to generation %d already", c.generation.Load())
	}
	notify := make(chan bool, 16)
	trans := newRaftTransport(c.t, c.streams, c.catchUp, c.log)
	store := raft.NewInmemStore()
	r, err := raft.NewRaft(raftConfig(c.self.ID, c.cfg.Timing, notify, c.log), fsm{c.replica}, store, store, raft.NewInmemSnapshotStore(), trans)
	if err != nil {
		return errors.Join(fmt.Errorf("cluster: start raft: %w", err), trans.Close())
	}
	if bootstrap {
		servers := []raft.Server{{ID: raft.ServerID(c.self.ID), Address: serverAddress(c.self)}}
		if err := r.BootstrapCluster(raft.Configuration{Servers: servers}).Error(); err != nil {
			return errors.Join(fmt.Errorf("cluster: bootstrap raft: %w", err), r.Shutdown().Error(), trans.Close())
		}
	}
	c.raft, c.trans = r, trans
	c.generation.Store(generation)
	c.t.SetGeneration(generation)
	seen := make(chan raft.Observation, 64)
	r.RegisterObserver(raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	}))
	ctx := c.running
	c.tasks.Go(func() { trans.run(ctx) })
	c.tasks.Go(func() { c.followLeader(ctx, r, seen) })
	c.tasks.Go(func() { c.lead(ctx, r, notify) })
	c.tasks.Go(func() { c.renewSession(ctx) })
	return nil
}

// raftNode returns the raft server, nil before the node belongs to a cluster.
func (c *Cluster) raftNode() *raft.Raft {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raft
}

// followLeader keeps the leader hint current on voters.
func (c *Cluster) followLeader(ctx context.Context, r *raft.Raft, seen <-chan raft.Observation) {
	for {
		select {
		case o := <-seen:
			l, ok := o.Data.(raft.LeaderObservation)
			if !ok || l.LeaderAddr == "" {
				continue
			}
			if n, err := parseServer(l.LeaderAddr); err == nil {
				c.replica.setLeader(n, r.CurrentTerm())
				c.session.poke()
			}
		case <-ctx.Done():
			return
		}
	}
}

// lead runs a leadership for as long as raft says that this node leads.
func (c *Cluster) lead(ctx context.Context, r *raft.Raft, notify <-chan bool) {
	end := func() {}
	defer func() { end() }()
	for {
		select {
		case leads := <-notify:
			end()
			end = func() {}
			if leads {
				end = c.startLeading(ctx, newLeadership(c, r, r.CurrentTerm()))
			}
		case <-ctx.Done():
			return
		}
	}
}

// startLeading runs l and returns the function that ends it and waits for that.
func (c *Cluster) startLeading(ctx context.Context, l *leadership) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}
