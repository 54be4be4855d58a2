package sharding

import (
	"context"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// Cluster is what sharding needs from the cluster.
type Cluster interface {
	// Self returns this node.
	Self() member.Node
	// SessionValid reports whether this node may execute entities right now, by
	// its own monotonic clock. It costs tens of nanoseconds.
	SessionValid() bool
	// Observe registers o and calls o.TableReset with the present table before
	// it returns. Later calls come in table order, one at a time, from the
	// goroutine that applies the table: they must not block and must not call
	// back into the cluster. There is no way to unregister; call it once per
	// region set.
	Observe(o TableObserver)
	// Released tells the leader that this node has stopped a shard it owned at
	// epoch. It returns after the leader committed it or ctx ended; the caller
	// tries again until the table shows it.
	Released(ctx context.Context, ops []placement.Op) error
}

// TableObserver follows the replicated table.
type TableObserver interface {
	// TableReset replaces everything known. The observer must not keep rows or
	// members beyond the call (it copies what it needs).
	TableReset(t TableView)
	// TableChanged tells what one command changed. Index grows with every call.
	TableChanged(d TableDelta)
}

// TableView is a whole table.
type TableView struct {
	Generation uint64
	Index      uint64
	Members    []member.Member
	Shards     []placement.Change
}

// TableDelta is what one command changed.
type TableDelta struct {
	Index uint64
	// Members that changed or joined, with their new status; Removed ones
	// appear once with that status.
	Members []member.Member
	// Shards that changed.
	Shards []placement.Change
}
