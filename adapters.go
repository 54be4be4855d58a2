package holdfast

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-go/holdfast/bootstrap"
	"github.com/holdfast-go/holdfast/cluster"
	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/sharding"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// arbiter is the claim row of a journal as the cluster wants it.
type arbiter struct {
	journal journal.Arbiter
	cluster string
}

// ReadClaim implements cluster.Arbiter.
func (a arbiter) ReadClaim(ctx context.Context) (cluster.Claim, error) {
	c, err := a.journal.ReadClaim(ctx, a.cluster)
	return cluster.Claim(c), err
}

// SwapClaim implements cluster.Arbiter.
func (a arbiter) SwapClaim(ctx context.Context, old uint64, next cluster.Claim) (cluster.Claim, bool, error) {
	c, swapped, err := a.journal.SwapClaim(ctx, a.cluster, old, journal.Claim(next))
	return cluster.Claim(c), swapped, err
}

// joiner is the cluster as bootstrap wants it.
type joiner struct{ *cluster.Cluster }

// Form implements bootstrap.Joiner.
func (j joiner) Form(ctx context.Context) error {
	err := j.Cluster.Form(ctx)
	if errors.Is(err, cluster.ErrClaimed) {
		return fmt.Errorf("%w: %w", bootstrap.ErrClaimed, err)
	}
	return err
}

// regionCluster is the cluster as sharding wants it.
type regionCluster struct{ *cluster.Cluster }

// Observe implements sharding.Cluster.
func (r regionCluster) Observe(o sharding.TableObserver) { r.Cluster.Observe(tableObserver{o}) }

type tableObserver struct{ o sharding.TableObserver }

// TableReset implements cluster.Observer.
func (t tableObserver) TableReset(s table.Snapshot) {
	t.o.TableReset(sharding.TableView{Generation: s.Generation, Index: s.Index, Members: s.Members, Shards: s.Shards})
}

// TableChanged implements cluster.Observer.
func (t tableObserver) TableChanged(d table.Delta) { t.o.TableChanged(sharding.TableDelta(d)) }

// sources are what the management server shows.
type sources struct{ n *Node }

// Self implements httpapi.ClusterSource.
func (s sources) Self() member.Node { return s.n.cluster.Self() }

// View implements httpapi.ClusterSource.
func (s sources) View() member.View { return *s.n.cluster.View() }

// ShardTypes implements httpapi.ShardSource.
func (s sources) ShardTypes() []string { return slices.Sorted(maps.Keys(s.n.types)) }

// ShardRows implements httpapi.ShardSource.
func (s sources) ShardRows(entityType string) ([]placement.Shard, bool) {
	return s.n.cluster.Shards(entityType)
}

// ShardsOwned implements httpapi.ShardSource.
func (s sources) ShardsOwned() map[member.NodeID]int {
	out := map[member.NodeID]int{}
	for name := range s.n.types {
		rows, _ := s.n.cluster.Shards(name)
		for _, row := range rows {
			if row.State != placement.Unassigned {
				out[row.Owner]++
			}
		}
	}
	return out
}
