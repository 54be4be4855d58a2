package sharding

import (
	"fmt"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/sharding/placement"
)

// counters of one entity type.
type counters struct {
	running, entities, buffered                                 atomic.Int64
	refusals, resent, lostTells, overloads, started, passivated atomic.Uint64
}

// TypeStats says what a node does for one entity type. Counts are since start.
type TypeStats struct {
	// Type name and its number of shards.
	Type   string
	Shards int
	// Running shards that this node hosts, including those that are stopping.
	Running int
	// Entities in memory.
	Entities int
	// Buffered calls that wait here for an owner.
	Buffered int
	// Started and Passivated count activations and idle entities dropped.
	Started, Passivated uint64
	// Refused calls that an owner gave back without running them.
	Refused uint64
	// Resent calls that left a buffer for another node.
	Resent uint64
	// LostTells were taken and then lost or refused.
	LostTells uint64
	// Overloads are calls turned away because a mailbox or buffer was full.
	Overloads uint64
}

// Stats returns what this node does, by entity type.
func (r *Regions) Stats() map[string]TypeStats {
	out := make(map[string]TypeStats, len(r.regions))
	for name, region := range r.regions {
		c := &region.stats
		out[name] = TypeStats{
			Type: name, Shards: len(region.slots),
			Running: int(c.running.Load()), Entities: int(c.entities.Load()), Buffered: int(c.buffered.Load()),
			Started: c.started.Load(), Passivated: c.passivated.Load(), Refused: c.refusals.Load(), Resent: c.resent.Load(),
			LostTells: c.lostTells.Load(), Overloads: c.overloads.Load(),
		}
	}
	return out
}

// Running returns the number of shards that this node hosts, over all types.
func (r *Regions) Running() int {
	n := 0
	for _, region := range r.regions {
		n += int(region.stats.running.Load())
	}
	return n
}

// ShardInfo answers why a shard is, or is not, being served from this node.
type ShardInfo struct {
	Row placement.Shard
	// Route is "open" or says what calls wait for.
	Route string
	// Buffered calls wait here; InFlight ones are with the owner; Parked ones
	// came from other nodes and wait for this node's table.
	Buffered, InFlight, Parked int
	// Host is what this node does for the shard: "" when nothing.
	Host string
	// Entities in memory here.
	Entities int
}

// Shard tells about one shard; ok is false when there is none.
func (r *Regions) Shard(k placement.Key) (info ShardInfo, ok bool) {
	region := r.regions[k.Type]
	if region == nil || k.Shard < 0 || k.Shard >= len(region.slots) {
		return ShardInfo{}, false
	}
	s := &region.slots[k.Shard]
	s.mu.Lock()
	defer s.unlock()
	info = ShardInfo{Row: s.row, Route: "open", Buffered: s.buf.n, InFlight: s.out.n, Parked: len(s.parked)}
	if !s.open {
		info.Route = "waits for " + s.waitsFor()
	}
	if h := s.host; h != nil {
		info.Entities = len(h.entities)
		switch h.state {
		case hostTakes:
			info.Host = "takes calls"
			if !h.Valid() {
				info.Host = "has no session"
			}
		case hostBarriers:
			info.Host = fmt.Sprintf("waits for barriers of %v", h.awaited)
		case hostStops:
			info.Host = fmt.Sprintf("stops, %d entities left", len(h.entities))
		case hostStopped:
			info.Host = "stopped"
		}
	}
	return info, true
}
