package sharding_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/actor"
	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote/remotetest"
	"github.com/holdfast-go/holdfast/sharding"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// world is some nodes with one table that the test drives by hand.
type world struct {
	t   *testing.T
	net *remotetest.Network

	mu         sync.Mutex
	generation uint64
	index      uint64
	members    map[member.NodeID]member.Member
	table      *placement.Table
	nodes      []*testNode
	// manual: released shards are not given to Shard.To.
	manual bool
}

type testNode struct {
	*sharding.Regions
	w         *world
	self      member.Node
	transport *remotetest.Node
	session   atomic.Bool
	// blink makes the session check of that number, counted down, fail once.
	blink    atomic.Int64
	observer sharding.TableObserver
	held     []sharding.TableDelta
	hold     bool
	renewed  bool // gets its session back with its table
	cancel   context.CancelFunc
	done     chan error
	stops    chan sharding.ShardStop
	lost     atomic.Int64
}

// newWorld starts n nodes that host the given types, within a synctest bubble.
func newWorld(t *testing.T, n int, configure func(*sharding.Config), entities ...sharding.Entity) *world {
	t.Helper()
	w := &world{t: t, net: remotetest.NewNetwork(1), generation: 1, index: 1, members: map[member.NodeID]member.Member{}, table: placement.NewTable()}
	for _, e := range entities {
		def := e.Definition().WithDefaults()
		if err := w.table.Register(def.Name, def.Shards); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		w.start(i, configure, entities...)
	}
	t.Cleanup(func() {
		for _, node := range w.nodes {
			node.cancel()
		}
		for _, node := range w.nodes {
			if err := <-node.done; err != nil {
				t.Errorf("Run of %s: got %v, want nil", node.self.ID, err)
			}
		}
	})
	return w
}

func (w *world) start(i int, configure func(*sharding.Config), entities ...sharding.Entity) {
	w.t.Helper()
	self := member.Node{ID: member.NodeID(fmt.Sprintf("node-%c", 'a'+i)), Addr: fmt.Sprintf("10.0.0.%d:25520", i+1)}
	actors, err := actor.NewSystem(actor.Config{})
	if err != nil {
		w.t.Fatal(err)
	}
	n := &testNode{w: w, self: self, transport: w.net.Node(self), done: make(chan error, 1), stops: make(chan sharding.ShardStop, 1000)}
	n.session.Store(true)
	cfg := sharding.Config{
		Cluster: n, Transport: n.transport, Actors: actors, Entities: entities, Logger: slog.New(slog.DiscardHandler),
		Events: sharding.Events{
			ShardStopped: func(_ placement.Key, _ uint64, s sharding.ShardStop) { n.stops <- s },
			TellLost:     func(*sharding.Error) { n.lost.Add(1) },
		},
	}
	if configure != nil {
		configure(&cfg)
	}
	w.change(func() sharding.TableDelta {
		m := member.Member{Node: self, Status: member.Up, JoinedAt: w.index}
		w.members[self.ID] = m
		return sharding.TableDelta{Members: []member.Member{m}}
	})
	if n.Regions, err = sharding.NewRegions(cfg); err != nil {
		w.t.Fatal(err)
	}
	w.nodes = append(w.nodes, n)
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	transportCtx, stopTransport := context.WithCancel(context.Background())
	transportDone := make(chan error, 1)
	go func() { transportDone <- n.transport.Run(transportCtx) }()
	go func() {
		err := n.Run(ctx)
		stopTransport()
		err = errors.Join(err, <-transportDone)
		n.done <- errors.Join(err, actors.Shutdown(context.WithoutCancel(ctx)))
	}()
}

// Self, SessionValid, Observe and Released implement sharding.Cluster.
func (n *testNode) Self() member.Node { return n.self }

func (n *testNode) SessionValid() bool {
	if n.blink.Load() > 0 && n.blink.Add(-1) == 0 {
		return false
	}
	return n.session.Load()
}

func (n *testNode) Observe(o sharding.TableObserver) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.observer = o
	o.TableReset(n.w.view())
}

func (w *world) view() sharding.TableView {
	v := sharding.TableView{Generation: w.generation, Index: w.index, Shards: w.table.Rows()}
	for _, m := range w.members {
		v.Members = append(v.Members, m)
	}
	return v
}

func (n *testNode) Released(_ context.Context, ops []placement.Op) error {
	w := n.w
	w.apply(ops...)
	if w.manual {
		return nil
	}
	for _, op := range ops {
		w.mu.Lock()
		row, _ := w.table.Get(op.Key)
		w.mu.Unlock()
		if row.State == placement.Unassigned && row.To != "" {
			w.apply(placement.Op{Kind: placement.Assign, Key: op.Key, Node: row.To})
		}
	}
	return nil
}

// change makes one table command and tells every node.
func (w *world) change(f func() sharding.TableDelta) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	d := f()
	d.Index = w.index
	for _, n := range w.nodes {
		if n.hold {
			n.held = append(n.held, d)
		} else {
			n.observer.TableChanged(d)
		}
	}
}

func (w *world) apply(ops ...placement.Op) {
	w.change(func() sharding.TableDelta {
		return sharding.TableDelta{Shards: w.table.Apply(w.index, ops, func(id member.NodeID) bool {
			s := w.members[id].Status
			return s == member.Up || s == member.Leaving
		})}
	})
}

func (w *world) assign(key placement.Key, to *testNode) {
	w.apply(placement.Op{Kind: placement.Assign, Key: key, Node: to.self.ID})
}

func (w *world) move(key placement.Key, to *testNode) {
	row := w.row(key)
	w.apply(placement.Op{Kind: placement.BeginMove, Key: key, Node: to.self.ID, Epoch: row.Epoch})
}

func (w *world) row(key placement.Key) placement.Shard {
	w.mu.Lock()
	defer w.mu.Unlock()
	row, _ := w.table.Get(key)
	return row
}

// expire takes all shards from a node, whose session is over.
func (w *world) expire(n *testNode) {
	w.change(func() sharding.TableDelta { return sharding.TableDelta{Shards: w.table.Drop(w.index, n.self.ID)} })
}

// kill ends a node and has the table say so.
func (w *world) kill(n *testNode) {
	n.session.Store(false)
	w.net.Kill(n.self)
	w.change(func() sharding.TableDelta {
		m := w.members[n.self.ID]
		m.Status = member.Down
		w.members[n.self.ID] = m
		return sharding.TableDelta{Members: []member.Member{m}, Shards: w.table.Drop(w.index, n.self.ID)}
	})
	for _, o := range w.nodes {
		o.transport.Forget(n.self.ID)
	}
}

// holdTable stops a node from seeing changes until releaseTable.
func (w *world) holdTable(n *testNode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n.hold = true
}

func (w *world) releaseTable(n *testNode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n.hold = false
	for _, d := range n.held {
		n.observer.TableChanged(d)
	}
	n.held = nil
	if n.renewed {
		n.renewed = false
		n.session.Store(true)
	}
}

// renew gives a node its session back, which it gets no earlier than it has
// taken in what happened to the last one.
func (w *world) renew(n *testNode) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n.hold {
		n.renewed = true
	} else {
		n.session.Store(true)
	}
}

// spread assigns every shard of a type, turn by turn.
func (w *world) spread(entityType string) {
	var ops []placement.Op
	for i := range w.table.Shards(entityType) {
		ops = append(ops, placement.Op{Kind: placement.Assign, Key: placement.Key{Type: entityType, Shard: i}, Node: w.nodes[i%len(w.nodes)].self.ID})
	}
	w.apply(ops...)
}

// bubble runs f in a synctest bubble.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// elapse lets d of the bubble's time pass, which takes none of ours.
func elapse(d time.Duration) { <-time.After(d) }

// within is a ctx for one call.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// journal records what entities did, across nodes and activations.
type journal struct {
	mu         sync.Mutex
	entries    map[string][]int
	active     map[string]int
	last       map[string]*sharding.Activation
	clashes    int
	trespasses int
}

func newJournal() *journal {
	return &journal{entries: map[string][]int{}, active: map[string]int{}, last: map[string]*sharding.Activation{}}
}

func (j *journal) add(key string, n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries[key] = append(j.entries[key], n)
}

func (j *journal) get(key string) []int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries[key])
}

// enter and leave notice two activations of one entity at the same time, both
// of them valid.
func (j *journal) enter(a *sharding.Activation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.active[a.ID]++
	if last := j.last[a.ID]; j.active[a.ID] > 1 && last.Valid() {
		j.clashes++
	}
	j.last[a.ID] = a
}

func (j *journal) leave(id string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.active[id]--
}

// trespass notes a call that began without the right to run.
func (j *journal) trespass() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.trespasses++
}

func (j *journal) activation(id string) *sharding.Activation {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last[id]
}

func (j *journal) check(t *testing.T) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.clashes != 0 || j.trespasses != 0 {
		t.Errorf("got %d times two valid activations and %d calls begun without the right to, want none", j.clashes, j.trespasses)
	}
}

func wantCode(t *testing.T, err error, want sharding.Code) {
	t.Helper()
	if got := sharding.CodeOf(err); got != want {
		t.Errorf("got %v, want code %s", err, want)
	}
}
