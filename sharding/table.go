package sharding

import (
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// TableReset implements TableObserver.
func (r *Regions) TableReset(t TableView) {
	now := time.Now()
	r.setMembers(t.Members, true)
	rows := make(map[placement.Key]placement.Shard, len(t.Shards))
	for _, c := range t.Shards {
		rows[c.Key] = c.Row
		if r.regions[c.Type] == nil {
			r.foreignBarrier(c, t.Generation)
		}
	}
	// A refusal with index 0 makes nobody wait for an index of another generation.
	r.index.Store(0)
	r.generation.Store(t.Generation)
	for _, region := range r.regions {
		for i := range region.slots {
			s := &region.slots[i]
			s.mu.Lock()
			s.setRow(rows[s.key()], t.Generation, now)
			s.unlock()
		}
	}
	r.index.Store(t.Index)
	r.steerList.wake()
}

// TableChanged implements TableObserver.
func (r *Regions) TableChanged(d TableDelta) {
	now := time.Now()
	r.setMembers(d.Members, false)
	for _, c := range d.Shards {
		region := r.regions[c.Type]
		if region == nil {
			r.foreignBarrier(c, r.generation.Load())
			continue
		}
		if c.Shard < 0 || c.Shard >= len(region.slots) {
			continue
		}
		s := &region.slots[c.Shard]
		s.mu.Lock()
		s.setRow(c.Row, s.generation, now)
		s.unlock()
	}
	r.index.Store(d.Index)
	r.steerList.wake()
}

// setMembers keeps what is known of the members.
func (r *Regions) setMembers(members []member.Member, all bool) {
	r.membersMu.Lock()
	defer r.membersMu.Unlock()
	if all {
		clear(r.members)
	}
	for _, m := range members {
		if m.Status == member.Removed {
			delete(r.members, m.ID)
			continue
		}
		r.members[m.ID] = m
	}
}

// foreignBarrier answers the move of a type that this node does not know, as
// happens during an update that adds one: otherwise its owner would wait in
// vain for a node that sends it nothing.
func (r *Regions) foreignBarrier(c placement.Change, generation uint64) {
	if c.Row.State != placement.Moving || c.Row.Owner == r.self.ID {
		return
	}
	lane, ok := r.lane(c.Row.Owner)
	if !ok {
		return
	}
	// A full queue costs that owner its barrier timeout, nothing else.
	_ = lane.Post(remote.Post{
		Service:  service,
		Payload:  wire.AppendShardRequest(nil, wire.RequestBarrier, c.Type, c.Shard, generation, c.Row.Epoch),
		Deadline: time.Now().Add(r.cfg.BarrierTimeout),
		Done:     func([]byte, error) {},
	})
}
