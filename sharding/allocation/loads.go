package allocation

import (
	"cmp"
	"slices"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Node is a node that may be given shards of the entity type in question, and
// what it holds.
type Node struct {
	ID   member.NodeID
	Addr string
	// Version of the application that the node runs, see member.CompareVersions.
	Version string
	// Shards of the type that the node holds, or will hold when the moves that
	// are under way have ended.
	Shards int
	// Total is the same over all types.
	Total int
}

// Loads is the score board of one entity type.
type Loads struct {
	nodes  []Node // in address order
	newest []bool // by node: runs the newest version
	mixed  bool   // not every node runs the newest version
	limit  int    // of a node of the newest version, see Pick
}

// NewLoads returns the score board of nodes; shards is the number of shards of
// the type, held or not. The order of nodes does not matter.
func NewLoads(shards int, nodes []Node) *Loads {
	l := &Loads{nodes: slices.Clone(nodes)}
	slices.SortFunc(l.nodes, func(a, b Node) int {
		return cmp.Or(member.CompareAddr(a.Addr, b.Addr), cmp.Compare(a.ID, b.ID))
	})
	if len(nodes) == 0 {
		return l
	}
	l.limit = (2*shards + len(nodes) - 1) / len(nodes)
	top := l.nodes[0].Version
	for _, n := range l.nodes {
		if member.CompareVersions(n.Version, top) > 0 {
			top = n.Version
		}
	}
	l.newest = make([]bool, len(l.nodes))
	for i, n := range l.nodes {
		l.newest[i] = member.CompareVersions(n.Version, top) == 0
		l.mixed = l.mixed || !l.newest[i]
	}
	return l
}

// Len is the number of nodes.
func (l *Loads) Len() int { return len(l.nodes) }

// Mixed reports whether the nodes run more than one app version: a rolling
// update is under way.
func (l *Loads) Mixed() bool { return l.mixed }

// Pick answers the node that should get the next shard; ok is false when there
// is no node. Nodes of the newest version are preferred as long as the shard
// does not take them over twice the average, so that a shard moves once in a
// rolling update, yet the first new node is not buried. The caller tells the
// board with [Loads.Add] when it follows the answer.
func (l *Loads) Pick() (id member.NodeID, ok bool) {
	newest, least := -1, -1
	for i := range l.nodes {
		if least < 0 || l.compare(i, least) < 0 {
			least = i
		}
		if l.newest[i] && (newest < 0 || l.compare(i, newest) < 0) {
			newest = i
		}
	}
	switch {
	case least < 0:
		return "", false
	case l.nodes[newest].Shards < l.limit:
		return l.nodes[newest].ID, true
	}
	return l.nodes[least].ID, true
}

// Add counts one more shard for a node and reports whether the board has it.
func (l *Loads) Add(id member.NodeID) bool {
	i := slices.IndexFunc(l.nodes, func(n Node) bool { return n.ID == id })
	if i < 0 {
		return false
	}
	l.nodes[i].Shards++
	l.nodes[i].Total++
	return true
}

// Spread is the difference between the most and the fewest shards of a node.
func (l *Loads) Spread() int {
	if len(l.nodes) == 0 {
		return 0
	}
	lo, hi := l.nodes[0].Shards, l.nodes[0].Shards
	for _, n := range l.nodes {
		lo, hi = min(lo, n.Shards), max(hi, n.Shards)
	}
	return hi - lo
}

// Move says that one shard should go from one node to another.
type Move struct{ From, To member.NodeID }

// Even proposes at most limit moves, each from the node with the most shards
// to the one with the fewest, until they differ by at most one. The board
// counts the moves as done.
//
// A node that received a shard never gives one while the nodes stay the same:
// when it received, it had the fewest, and the fewest never shrinks; to give it
// would have to exceed the fewest by two.
func (l *Loads) Even(limit int) []Move {
	var out []Move
	for len(out) < limit && l.Spread() > 1 {
		lo, hi := 0, 0
		for i := range l.nodes {
			if l.compare(i, lo) < 0 {
				lo = i
			}
			if l.compare(i, hi) > 0 {
				hi = i
			}
		}
		l.nodes[hi].Shards--
		l.nodes[hi].Total--
		l.nodes[lo].Shards++
		l.nodes[lo].Total++
		out = append(out, Move{From: l.nodes[hi].ID, To: l.nodes[lo].ID})
	}
	return out
}

// compare orders nodes by shards, total and address.
func (l *Loads) compare(i, j int) int {
	a, b := l.nodes[i], l.nodes[j]
	return cmp.Or(cmp.Compare(a.Shards, b.Shards), cmp.Compare(a.Total, b.Total), cmp.Compare(i, j))
}
