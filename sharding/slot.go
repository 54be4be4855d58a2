package sharding

import (
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// slot is one shard as this node sees it: how to reach its owner, and, when
// that is this node, the entities. One lock guards both, so that a local call
// takes it once.
type slot struct {
	region *region
	shard  int

	mu sync.Mutex
	// listed: the slot is in the list of those that steer looks after.
	listed bool
	// row of the table and the generation it belongs to.
	row        placement.Shard
	generation uint64

	route
	host   *host
	parked []parked
	// parkedBytes is the size of what is parked.
	parkedBytes int
	// suspects are nodes of which a call was given back before it reached an
	// entity.
	suspects map[member.NodeID]struct{}
	// releasing: the leader is being told that the shard has stopped here.
	releasing bool
	// after is run when the lock has been left.
	after []func()
}

// region is one entity type on this node.
type region struct {
	set   *Regions
	def   Definition
	slots []slot
	stats counters
}

func (s *slot) key() placement.Key {
	return placement.Key{Type: s.region.def.Name, Shard: s.shard}
}

// mine reports whether the table says that this node owns the shard.
func (s *slot) mine() bool {
	return s.row.State != placement.Unassigned && s.row.Owner == s.region.set.self.ID
}

// unlock leaves the lock, then runs what had to wait for that.
func (s *slot) unlock() {
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// later runs f when the lock has been left.
func (s *slot) later(f func()) { s.after = append(s.after, f) }

// setRow takes a new row of the table. It only closes: what is to be opened or
// sent is left to steer, except for the barrier, so that the goroutine that
// applies the table is not held up.
func (s *slot) setRow(row placement.Shard, generation uint64, now time.Time) {
	set := s.region.set
	prev, prevGeneration := s.row, s.generation
	if prev == row && prevGeneration == generation {
		return
	}
	s.row, s.generation = row, generation
	if h := s.host; h != nil && h.state != hostStopped && (!s.mine() || row.Epoch != h.epoch || generation != h.generation) {
		h.revoke()
	}
	if s.releasing && (!s.mine() || row.Epoch != prev.Epoch || generation != prevGeneration) {
		s.releasing = false
		set.releases.drop(s.key())
	}
	if s.open && !s.fits() {
		s.open = false
	}
	if generation != prevGeneration || row.Epoch != prev.Epoch {
		s.resetProbe()
	}
	if s.out.n > 0 && prev.State != placement.Unassigned && s.stale(prev.Epoch, prevGeneration) {
		wait := set.cfg.SettleTimeout
		if prev.State == placement.Moving {
			wait *= 8
		}
		s.settleBy = now.Add(wait)
	}
	if row.State == placement.Moving && (prev.State != placement.Moving || prev.Epoch != row.Epoch || generation != prevGeneration) {
		if row.Owner != set.self.ID {
			s.barrier = true
			s.postBarrier()
		}
	}
	s.activate()
}

// activate has steer look at the slot.
func (s *slot) activate() {
	if !s.listed {
		s.listed = true
		s.region.set.steerList.add(s)
	}
}

// advance does everything that can be done for the slot now. It returns
// whether there is something to wait for, and whether that is room in a queue.
func (s *slot) advance(now time.Time) (keep, soon bool) {
	busy := s.advanceHost(now)
	s.unpark(now)
	// What was parked may have brought barriers.
	busy = s.advanceHost(now) || busy
	waiting, soon := s.advanceRoute(now)
	return busy || waiting || len(s.parked) > 0, soon
}

// node returns the address of a member that may be sent to.
func (r *Regions) node(id member.NodeID) (member.Node, bool) {
	r.membersMu.RLock()
	defer r.membersMu.RUnlock()
	m, ok := r.members[id]
	if !ok || m.Status == member.Down || m.Status == member.Removed {
		return member.Node{}, false
	}
	return m.Node, true
}

// senders returns the other members that may have calls on their way to this
// node.
func (r *Regions) senders() []member.NodeID {
	r.membersMu.RLock()
	defer r.membersMu.RUnlock()
	ids := make([]member.NodeID, 0, len(r.members))
	for id, m := range r.members {
		if id != r.self.ID && (m.Status == member.Up || m.Status == member.Leaving) {
			ids = append(ids, id)
		}
	}
	return ids
}

// sender reports whether a member may still have calls on their way here.
func (r *Regions) sender(id member.NodeID) bool {
	r.membersMu.RLock()
	defer r.membersMu.RUnlock()
	m, ok := r.members[id]
	return ok && (m.Status == member.Up || m.Status == member.Leaving)
}

// lane returns the data lane to a member.
func (r *Regions) lane(id member.NodeID) (remote.Lane, bool) {
	n, ok := r.node(id)
	if !ok {
		return nil, false
	}
	return r.cfg.Transport.Lane(n, remote.Data), true
}
