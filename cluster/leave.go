package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// Leave makes this node Leaving: the leader moves its shards, its vote and its
// leadership to others. The node goes on forwarding requests.
func (c *Cluster) Leave(ctx context.Context) error {
	if s, ok := c.Status(); ok && s != member.Up && s != member.Joining {
		return nil
	}
	return c.propose(ctx, wire.Propose{Status: member.Leaving})
}

// Evacuated waits until this node owns no shard, or until nobody is left who
// could take one; then it returns false. It fails when the membership ends: a
// node that goes on waiting answers at its address, and a voter that answers
// keeps the others from forming the next generation.
func (c *Cluster) Evacuated(ctx context.Context) (bool, error) {
	ctx, stop := c.whileMember(ctx)
	defer stop()
	empty := false
	err := c.replica.until(ctx, func(t *table.Table) bool {
		empty = t.Shards.Owned(c.self.ID) == 0
		if empty {
			return true
		}
		for _, m := range t.Members() {
			if m.ID != c.self.ID && (m.Status == member.Up || m.Status == member.Joining) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return empty, fmt.Errorf("cluster: evacuate: %w", c.whyOver(err))
	}
	return empty, nil
}

// Released commits that this node has stopped the shards of ops.
func (c *Cluster) Released(ctx context.Context, ops []placement.Op) error {
	return c.propose(ctx, wire.Propose{Ops: ops})
}

// Exit gives up this node's membership after its shards are gone, and returns
// when the cluster has removed it or, for the last node, when nobody is left.
func (c *Cluster) Exit(ctx context.Context) error {
	if c.raftNode() == nil {
		return nil
	}
	c.exiting.Store(true)
	if err := c.propose(ctx, wire.Propose{Status: member.Exiting}); err != nil && !errors.Is(err, ErrNotRunning) {
		return fmt.Errorf("cluster: exit: %w", err)
	}
	for {
		changed := c.replica.change()
		// The last one to go stays until the others know that they are removed.
		if l := c.leading.Load(); l != nil && c.alone() && l.pushing.Load() == 0 {
			if c.cfg.Arbiter != nil {
				// An empty list tells the next generation that nobody is left.
				return l.writeVoters(ctx, nil)
			}
			return nil
		}
		if c.notInTable() {
			return nil
		}
		c.session.poke()
		select {
		case <-c.left:
			return nil
		case <-changed:
		case <-time.After(50 * time.Millisecond):
		case <-c.over:
			return fmt.Errorf("cluster: exit: %w", c.overWhy)
		case <-ctx.Done():
			return fmt.Errorf("cluster: exit: %w", ctx.Err())
		}
	}
}

// alone reports whether no other member is in the table.
func (c *Cluster) alone() bool {
	for _, m := range c.View().Members {
		if m.ID != c.self.ID && m.Status != member.Down {
			return false
		}
	}
	return true
}
