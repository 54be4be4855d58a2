package sim

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// follower keeps one node's table as its observers see it, and checks each
// step of it.
type follower struct {
	p *process

	mu         sync.Mutex
	generation uint64
	index      uint64
	members    map[member.NodeID]member.Member
	rows       map[placement.Key]placement.Shard
}

// TableReset implements cluster.Observer.
func (f *follower) TableReset(s table.Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Generation < f.generation || s.Generation == f.generation && s.Index < f.index {
		f.p.w.oracle.report("table", "%s went back from %d/%d to %d/%d", f.p.self.ID, f.generation, f.index, s.Generation, s.Index)
	}
	f.generation, f.index = s.Generation, s.Index
	f.members, f.rows = map[member.NodeID]member.Member{}, map[placement.Key]placement.Shard{}
	for _, m := range s.Members {
		f.members[m.ID] = m
	}
	for _, c := range s.Shards {
		f.rows[c.Key] = c.Row
	}
	f.seen()
}

// TableChanged implements cluster.Observer.
func (f *follower) TableChanged(d table.Delta) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.p.w.oracle
	if d.Index <= f.index {
		o.report("table", "%s got index %d after %d", f.p.self.ID, d.Index, f.index)
	}
	f.index = d.Index
	for _, m := range d.Members {
		before, known := f.members[m.ID]
		switch {
		case !known && m.Status != member.Joining:
			o.report("table", "member %s appeared as %s", m.ID, m.Status)
		case known && before.Status != m.Status && !before.Status.CanBecome(m.Status):
			o.report("table", "member %s went from %s to %s", m.ID, before.Status, m.Status)
		}
		if m.Status == member.Removed {
			delete(f.members, m.ID)
			continue
		}
		f.members[m.ID] = m
	}
	for _, c := range d.Shards {
		before := f.rows[c.Key]
		if c.Row.Epoch < before.Epoch || c.Row.Owner != before.Owner && c.Row.Owner != "" && c.Row.Epoch == before.Epoch {
			o.report("table", "%s went from %+v to %+v", c.Key, before, c.Row)
		}
		f.rows[c.Key] = c.Row
	}
	f.seen()
}

// seen reports the hash of the table.
func (f *follower) seen() {
	if f.generation == 0 {
		return
	}
	h := fnv.New64a()
	put := func(s string) { _, _ = h.Write(append([]byte(s), 0)) }
	num := func(n uint64) { _, _ = h.Write(binary.BigEndian.AppendUint64(nil, n)) }
	ids := make([]member.NodeID, 0, len(f.members))
	for id := range f.members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		m := f.members[id]
		put(m.String())
		num(uint64(m.Status))
		num(m.JoinedAt)
		put(m.Zone + "/" + m.AppVersion + "/" + strings.Join(m.Roles, ","))
	}
	keys := make([]placement.Key, 0, len(f.rows))
	for k := range f.rows {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, placement.CompareKeys)
	for _, k := range keys {
		r := f.rows[k]
		put(k.String())
		num(uint64(r.State))
		put(string(r.Owner) + ">" + string(r.To))
		num(r.Epoch)
		num(r.Since)
	}
	f.p.w.oracle.tableSeen(f.p, f.generation, f.index, h.Sum64())
}

// owns calls f for each shard that runs on this node in its own table.
func (f *follower) owns(each func(shard int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, r := range f.rows {
		if r.State == placement.Running && r.Owner == f.p.self.ID {
			each(k.Shard)
		}
	}
}
