package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/remote/remotetest"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// testShards is the number of shards of the only entity type of the tests.
const testShards = 12

// rig is a cluster in one synctest bubble.
type rig struct {
	t       *testing.T
	net     *remotetest.Network
	arbiter *memArbiter
	owners  *ownerLog
	nodes   []*node
	seq     int
}

// node is one process of the rig.
type node struct {
	*Cluster
	rig    *rig
	tr     *remotetest.Node
	cancel context.CancelFunc
	done   sync.WaitGroup
	deaf   atomic.Bool // refuses the leader's pushes
}

// deafTransport lets a test keep the table from a node that is reachable.
type deafTransport struct {
	*remotetest.Node
	n *node
}

// Handle implements remote.Transport.
func (d deafTransport) Handle(s remote.Service, h remote.Handler) {
	if s == servicePush {
		next := h
		h = func(m remote.Message) {
			if d.n.deaf.Load() {
				m.Reply(nil, errors.New("deaf"))
				return
			}
			next(m)
		}
	}
	d.Node.Handle(s, h)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, net: remotetest.NewNetwork(1), arbiter: &memArbiter{}}
	r.owners = &ownerLog{rig: r, held: map[placement.Key]map[member.NodeID]uint64{}}
	t.Cleanup(r.stop)
	return r
}

func (r *rig) stop() {
	for _, n := range r.nodes {
		n.stop()
	}
}

func (n *node) stop() {
	n.cancel()
	n.done.Wait()
}

func testLogger() *slog.Logger {
	if os.Getenv("HOLDFAST_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// boot starts a process at an address; it neither joins nor forms.
func (r *rig) boot(addr string, change ...func(*Config)) *node {
	r.t.Helper()
	r.seq++
	self := member.Node{ID: member.NodeID(fmt.Sprintf("%02d-%s", r.seq, addr[:len(addr)-6])), Addr: addr}
	cfg := Config{
		Cluster: "test", Self: member.Member{Node: self}, Arbiter: r.arbiter,
		Settings: map[string]string{"sbr": "keep-majority"}, Types: map[string]int{"account": testShards},
		Logger: testLogger().With(slog.String("node", string(self.ID))),
	}
	for _, f := range change {
		f(&cfg)
	}
	n := &node{rig: r, tr: r.net.Node(self)}
	cfg.Transport = deafTransport{n.tr, n}
	c, err := New(cfg)
	if err != nil {
		r.t.Fatalf("new cluster: %v", err)
	}
	n.Cluster = c
	c.Observe(&ownerObserver{log: r.owners, n: n})
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	trCtx, trCancel := context.WithCancel(context.Background())
	n.done.Go(func() {
		_ = n.tr.Run(trCtx)
	})
	n.done.Go(func() {
		if err := c.Run(ctx); err != nil {
			r.t.Errorf("%s: run: %v", self, err)
		}
		trCancel() // the listener closes last
	})
	r.nodes = append(r.nodes, n)
	<-time.After(time.Millisecond) // virtual: both are running now
	return n
}

func addr(i int) string { return fmt.Sprintf("10.0.0.%d:25520", i) }

// form starts n nodes as one cluster.
func (r *rig) form(n int) []*node {
	r.t.Helper()
	first := r.boot(addr(1))
	if err := first.Form(r.within(20 * time.Second)); err != nil {
		r.t.Fatalf("form: %v", err)
	}
	nodes := []*node{first}
	for i := 2; i <= n; i++ {
		nodes = append(nodes, r.join(addr(i), first))
	}
	r.settle(nodes...)
	return nodes
}

func (r *rig) join(at string, through *node) *node {
	r.t.Helper()
	n := r.boot(at)
	if err := n.Join(r.within(30*time.Second), []string{through.self.Addr}); err != nil {
		r.t.Fatalf("%s: join: %v", n.self, err)
	}
	return n
}

func (r *rig) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	r.t.Cleanup(cancel)
	return ctx
}

// await waits until cond holds, in virtual time.
func (r *rig) await(d time.Duration, what string, cond func() bool) time.Duration {
	r.t.Helper()
	start := time.Now()
	for !cond() {
		if time.Since(start) > d {
			for _, n := range r.nodes {
				r.t.Logf("%s: session %v leads %v view %+v", n.self, n.SessionValid(), n.Leads(), n.View())
			}
			r.t.Fatalf("waited %v for: %s", d, what)
		}
		<-time.After(5 * time.Millisecond)
	}
	return time.Since(start)
}

// served reports whether every shard runs on one of the nodes, in the eyes of all of them.
func served(nodes ...*node) bool {
	ids := map[member.NodeID]bool{}
	for _, n := range nodes {
		ids[n.self.ID] = n.SessionValid()
	}
	for _, n := range nodes {
		rows, ok := n.Shards("account")
		if !ok {
			return false
		}
		for _, row := range rows {
			if row.State != placement.Running || !ids[row.Owner] {
				return false
			}
		}
	}
	return true
}

// settle waits until the nodes serve all shards evenly and have their voters.
func (r *rig) settle(nodes ...*node) {
	r.t.Helper()
	r.await(30*time.Second, "all shards served evenly", func() bool {
		if !served(nodes...) {
			return false
		}
		rows, _ := nodes[0].Shards("account")
		counts := map[member.NodeID]int{}
		for _, row := range rows {
			counts[row.Owner]++
		}
		for _, n := range nodes {
			if counts[n.self.ID] < testShards/len(nodes) {
				return false
			}
		}
		return true
	})
	want := voterCount(len(nodes), 1)
	r.await(30*time.Second, "all voters know all voters", func() bool {
		know := 0
		for _, n := range nodes {
			f := n.raftNode().GetConfiguration()
			if f.Error() != nil {
				return false
			}
			voters := 0
			for _, s := range f.Configuration().Servers {
				if s.Suffrage == raft.Voter {
					voters++
				}
			}
			if voters == want {
				know++
			}
		}
		return know >= want && leader(nodes...) != nil
	})
}

func leader(nodes ...*node) *node {
	for _, n := range nodes {
		if n.Leads() {
			return n
		}
	}
	return nil
}

func without(nodes []*node, out ...*node) []*node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n *node) bool { return slices.Contains(out, n) })
}

// kill ends a process as kill -9 does.
func (n *node) kill() {
	n.rig.owners.forget(n.self.ID)
	n.rig.net.Kill(n.self)
	n.session.end()
	n.stop()
}

// ownerLog watches I1 from outside: which nodes would execute a shard.
type ownerLog struct {
	rig  *rig
	mu   sync.Mutex
	held map[placement.Key]map[member.NodeID]uint64
}

func (o *ownerLog) forget(id member.NodeID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.held {
		delete(m, id)
	}
}

// check fails when two nodes with valid sessions hold the same shard.
func (o *ownerLog) check(nodes ...*node) {
	o.rig.t.Helper()
	byID := map[member.NodeID]*node{}
	for _, n := range nodes {
		byID[n.self.ID] = n
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for k, holders := range o.held {
		var valid []member.NodeID
		for id := range holders {
			if n := byID[id]; n != nil && n.SessionValid() {
				valid = append(valid, id)
			}
		}
		if len(valid) > 1 {
			o.rig.t.Fatalf("I1 is broken: %s may be executed by %v", k, valid)
		}
	}
}

// ownerObserver is what a region would see on one node, and plays the region's
// part in a handoff: it releases a shard that is to move at once.
type ownerObserver struct {
	log *ownerLog
	n   *node
}

func (o *ownerObserver) TableReset(s table.Snapshot) { o.apply(s.Shards) }

func (o *ownerObserver) TableChanged(d table.Delta) { o.apply(d.Shards) }

func (o *ownerObserver) apply(changes []placement.Change) {
	self := o.n.self.ID
	o.log.mu.Lock()
	defer o.log.mu.Unlock()
	var release []placement.Op
	for _, c := range changes {
		m := o.log.held[c.Key]
		if m == nil {
			m = map[member.NodeID]uint64{}
			o.log.held[c.Key] = m
		}
		switch {
		case c.Row.Owner != self:
			delete(m, self)
		case c.Row.State == placement.Moving:
			delete(m, self)
			release = append(release, placement.Op{Kind: placement.Release, Key: c.Key, Epoch: c.Row.Epoch})
		default:
			m[self] = c.Row.Epoch
		}
	}
	if len(release) > 0 {
		o.n.spawn(func(ctx context.Context) { _ = o.n.Released(ctx, release) })
	}
}

// memArbiter is an arbiter row in memory.
type memArbiter struct {
	mu   sync.Mutex
	row  Claim
	down bool
}

func (a *memArbiter) ReadClaim(context.Context) (Claim, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		return Claim{}, errors.New("store is down")
	}
	return a.row, nil
}

func (a *memArbiter) SwapClaim(_ context.Context, old uint64, next Claim) (Claim, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.down {
		return Claim{}, false, errors.New("store is down")
	}
	if a.row.Version != old {
		return a.row, false, nil
	}
	next.Version = old + 1
	a.row = next
	return next, true, nil
}

// ownedOps releases whatever this node owns.
func (n *node) ownedOps() []placement.Op {
	rows, _ := n.Shards("account")
	var ops []placement.Op
	for i, row := range rows {
		if row.Owner == n.self.ID {
			ops = append(ops, placement.Op{Kind: placement.Release, Key: placement.Key{Type: "account", Shard: i}, Epoch: row.Epoch})
		}
	}
	return ops
}
