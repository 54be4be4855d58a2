package persistence_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/actor"
	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/remote/remotetest"
	"github.com/holdfast-go/holdfast/sharding"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// cluster is real regions over one table that the test changes by hand.
type cluster struct {
	t   *testing.T
	net *remotetest.Network

	mu        sync.Mutex
	index     uint64
	members   []member.Member
	table     *placement.Table
	observers []sharding.TableObserver
}

// clusterNode implements sharding.Cluster. Its session is always valid: these
// tests are about what the journal does when that is wrong.
type clusterNode struct {
	*sharding.Regions
	c        *cluster
	self     member.Node
	released chan placement.Op
}

var theShard = placement.Key{Type: "account"}

// newCluster starts nodes that host the type on the stores given.
func newCluster(t *testing.T, typ persistence.Bindable, stores ...journal.Journal) (*cluster, []*clusterNode) {
	t.Helper()
	c := &cluster{t: t, net: remotetest.NewNetwork(1), index: 1, table: placement.NewTable()}
	if err := c.table.Register(theShard.Type, 1); err != nil {
		t.Fatal(err)
	}
	var nodes []*clusterNode
	for i := range stores {
		self := member.Node{ID: member.NodeID(fmt.Sprint("node-", i)), Addr: fmt.Sprintf("10.0.0.%d:25520", i+1)}
		c.members = append(c.members, member.Member{Node: self, Status: member.Up, JoinedAt: 1})
		nodes = append(nodes, &clusterNode{c: c, self: self, released: make(chan placement.Op, 100)})
	}
	for i, store := range stores {
		nodes[i].run(typ.BindStore(store, persistence.BindOptions{}))
	}
	return c, nodes
}

func (n *clusterNode) run(entity sharding.Entity) {
	t := n.c.t
	actors, err := actor.NewSystem(actor.Config{})
	if err != nil {
		t.Fatal(err)
	}
	transport := n.c.net.Node(n.self)
	n.Regions, err = sharding.NewRegions(sharding.Config{
		Cluster: n, Transport: transport, Actors: actors, Entities: []sharding.Entity{entity}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	transportCtx, stopTransport := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = transport.Run(transportCtx) })
	wg.Go(func() {
		_ = n.Run(ctx)
		stopTransport()
		if err := actors.Shutdown(context.WithoutCancel(ctx)); err != nil {
			t.Errorf("actors: %v", err)
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(cancel)
}

func (n *clusterNode) Self() member.Node  { return n.self }
func (n *clusterNode) SessionValid() bool { return true }

func (n *clusterNode) Observe(o sharding.TableObserver) {
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	n.c.observers = append(n.c.observers, o)
	o.TableReset(sharding.TableView{Generation: 1, Index: n.c.index, Members: n.c.members, Shards: n.c.table.Rows()})
}

// Released gives the shard back to the node that released it, at a new epoch.
func (n *clusterNode) Released(_ context.Context, ops []placement.Op) error {
	n.c.apply(ops...)
	for _, op := range ops {
		n.released <- op
		n.c.apply(placement.Op{Kind: placement.Assign, Key: op.Key, Node: n.self.ID})
	}
	return nil
}

func (c *cluster) apply(ops ...placement.Op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index++
	d := sharding.TableDelta{Index: c.index, Shards: c.table.Apply(c.index, ops, func(member.NodeID) bool { return true })}
	for _, o := range c.observers {
		o.TableChanged(d)
	}
}

func (c *cluster) assign(n *clusterNode) {
	c.apply(placement.Op{Kind: placement.Assign, Key: theShard, Node: n.self.ID})
}

func withinAMinute(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func oneShardBank() *bank {
	b := newBank()
	b.accounts.Shards = 1
	return b
}

func TestARegionTurnsAPanicIntoAnErrorAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, store := oneShardBank(), memory.New()
		c, nodes := newCluster(t, b.accounts, store, store)
		c.assign(nodes[0])
		for _, n := range nodes { // the owner, and over the wire
			_, err := b.deposit.Ask(withinAMinute(t), n, "a", Deposit{666})
			wantCode(t, err, sharding.Failed)
			_, err = b.withdraw.Ask(withinAMinute(t), n, "a", Withdraw{1_000})
			if !errors.Is(err, errShort) || sharding.CodeOf(err) != sharding.Rejected {
				t.Fatalf("got %v, want the refusal", err)
			}
			if _, err := b.deposit.Ask(withinAMinute(t), n, "a", Deposit{1}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := b.balance.Ask(withinAMinute(t), nodes[1], "a", struct{}{})
		if err != nil || got.Balance != 2 {
			t.Fatalf("got %+v %v, want 2", got, err)
		}
	})
}

func TestAFencedShardIsReleasedAndServedAgainAtANewEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, store := oneShardBank(), memory.New()
		c, nodes := newCluster(t, b.accounts, store)
		c.assign(nodes[0])
		if _, err := b.deposit.Ask(withinAMinute(t), nodes[0], "a", Deposit{10}); err != nil {
			t.Fatal(err)
		}
		// Somebody claims the shard behind the table's back.
		c.mu.Lock()
		c.index += 5
		epoch := c.index
		c.mu.Unlock()
		if _, err := store.Claim(t.Context(), journal.Shard{Type: "account"}, 1, epoch, "stranger"); err != nil {
			t.Fatal(err)
		}
		got, err := b.deposit.Ask(withinAMinute(t), nodes[0], "a", Deposit{5})
		if err != nil || got.Balance != 15 {
			t.Fatalf("got %+v %v, want 15 in the end", got, err)
		}
		select {
		case op := <-nodes[0].released:
			if op.Epoch >= epoch {
				t.Errorf("released epoch %d, want one older than the claim's %d", op.Epoch, epoch)
			}
		default:
			t.Error("the shard was not released")
		}
	})
}

func TestAskWithAnIDRidesOutAWriteInDoubt(t *testing.T) {
	for _, written := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := oneShardBank()
			mem := memory.New()
			store := &faulty{Journal: mem}
			c, nodes := newCluster(t, b.accounts, store, mem)
			c.assign(nodes[0])
			for i, n := range nodes { // from the owner, and from the other node
				store.fault = func(_ context.Context, call func() []journal.Result) []journal.Result {
					if written {
						call()
					}
					return []journal.Result{{Err: journal.ErrUnknown}}
				}
				ctx := sharding.CommandID(withinAMinute(t), fmt.Sprint("key-", i))
				got, err := b.deposit.Ask(ctx, n, "a", Deposit{10})
				if want := 10 * (i + 1); err != nil || got.Balance != want {
					t.Fatalf("written %v, node %d: got %+v %v, want %d", written, i, got, err, want)
				}
			}
		})
	}
}

func TestACommandIDIsRunOnceAcrossAFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, store := oneShardBank(), memory.New()
		c, nodes := newCluster(t, b.accounts, store, store)
		c.assign(nodes[0])
		ctx := sharding.CommandID(withinAMinute(t), "key")
		for round := range 4 {
			got, err := b.deposit.Ask(ctx, nodes[0], "a", Deposit{10})
			if err != nil || got.Balance != 10 {
				t.Fatalf("round %d: got %+v %v, want the first reply, 10", round, got, err)
			}
			if _, err := b.deposit.Ask(withinAMinute(t), nodes[1], "a", Deposit{1}); err != nil {
				t.Fatal(err)
			}
			// The owner's session runs out, as the table sees it.
			owner, other := nodes[round%2], nodes[(round+1)%2]
			c.mu.Lock()
			c.index++
			d := sharding.TableDelta{Index: c.index, Shards: c.table.Drop(c.index, owner.self.ID)}
			for _, o := range c.observers {
				o.TableChanged(d)
			}
			c.mu.Unlock()
			c.assign(other)
		}
		got, err := b.balance.Ask(withinAMinute(t), nodes[0], "a", struct{}{})
		if err != nil || got.Balance != 14 {
			t.Fatalf("got %+v %v, want 14", got, err)
		}
	})
}
