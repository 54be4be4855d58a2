package sbr

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// worldStep is how often nodes of a world look around and decide.
const worldStep = 500 * time.Millisecond

// world is a cluster in which every node runs a resolver by what it hears.
// Nodes see at once whom they cannot talk to; those that are connected, also by
// a detour, share what they know.
type world struct {
	t        *testing.T
	settings Settings
	start    time.Time
	now      time.Time
	order    []member.NodeID // by address
	nodes    map[member.NodeID]*worldNode
	cut      map[[2]member.NodeID]bool // from, to
	lease    worldLease
	story    []string
}

type worldLease struct {
	owner member.NodeID
	// reachable lists who can reach the lease, nil for all.
	reachable []member.NodeID
	released  int
	asked     map[member.NodeID]int
}

// row is what one node observes, newer versions replacing older ones.
type row struct {
	version  int
	subjects []member.NodeID
}

type worldNode struct {
	id    member.NodeID
	alive bool
	// table and rows are what the node knows; told is what its resolver was told.
	table       map[member.NodeID]Member
	rows        map[member.NodeID]row
	resolver    *Resolver
	told        map[member.NodeID]Member
	unreachable map[member.NodeID]bool
	leader      member.NodeID
}

func newWorld(t *testing.T, s Settings, members []Member) *world {
	t.Helper()
	w := &world{
		t: t, settings: s, start: time.Unix(1000, 0), nodes: make(map[member.NodeID]*worldNode),
		cut: make(map[[2]member.NodeID]bool), lease: worldLease{asked: make(map[member.NodeID]int)},
	}
	w.now = w.start
	for _, m := range byAddress(members) {
		w.order = append(w.order, m.ID)
	}
	for _, m := range members {
		r, err := NewResolver(s, m.ID, m.Center)
		if err != nil {
			t.Fatal(err)
		}
		n := &worldNode{
			id: m.ID, alive: true, resolver: r, table: make(map[member.NodeID]Member), rows: make(map[member.NodeID]row),
			told: make(map[member.NodeID]Member), unreachable: make(map[member.NodeID]bool),
		}
		for _, other := range members {
			n.table[other.ID] = other
		}
		w.nodes[m.ID] = n
	}
	w.look()
	return w
}

// link cuts or restores one direction.
func (w *world) link(from, to member.NodeID, broken bool) { w.cut[[2]member.NodeID{from, to}] = broken }

func (w *world) separate(groups [][]member.NodeID) {
	for i, g := range groups {
		for _, h := range slices.Concat(groups[i+1:]...) {
			for _, a := range g {
				w.link(a, h, true)
				w.link(h, a, true)
			}
		}
	}
}

func (w *world) talk(a, b member.NodeID) bool {
	return w.nodes[a].alive && w.nodes[b].alive && !w.cut[[2]member.NodeID{a, b}] && !w.cut[[2]member.NodeID{b, a}]
}

// sides returns the groups of living nodes that are connected by any path.
func (w *world) sides() [][]member.NodeID {
	var out [][]member.NodeID
	placed := make(map[member.NodeID]bool)
	for _, first := range w.order {
		if placed[first] || !w.nodes[first].alive {
			continue
		}
		side := []member.NodeID{first}
		placed[first] = true
		for i := 0; i < len(side); i++ {
			for _, id := range w.order {
				if !placed[id] && w.talk(side[i], id) {
					placed[id] = true
					side = append(side, id)
				}
			}
		}
		slices.SortFunc(side, func(a, b member.NodeID) int {
			return slices.Index(w.order, a) - slices.Index(w.order, b)
		})
		out = append(out, side)
	}
	return out
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(worldStep)
		w.look()
		for _, id := range w.order {
			if n := w.nodes[id]; n.alive {
				w.tell(n, Tick{})
			}
		}
		w.gossip()
	}
}

// look lets every node see whom it cannot talk to, and shares it.
func (w *world) look() {
	for _, id := range w.order {
		n := w.nodes[id]
		if !n.alive {
			continue
		}
		var cannot []member.NodeID
		for _, other := range w.order {
			if m, ok := n.table[other]; ok && other != id && m.Status != member.Removed && !w.talk(id, other) {
				cannot = append(cannot, other)
			}
		}
		if old := n.rows[id]; !slices.Equal(old.subjects, cannot) {
			n.rows[id] = row{version: old.version + 1, subjects: cannot}
		}
	}
	w.gossip()
}

// gossip shares tables and rows within each side and tells the resolvers what
// is new. A node that learns that it is down is gone.
func (w *world) gossip() {
	for _, side := range w.sides() {
		rows, table := make(map[member.NodeID]row), make(map[member.NodeID]Member)
		for _, id := range side {
			for observer, r := range w.nodes[id].rows {
				if r.version > rows[observer].version {
					rows[observer] = r
				}
			}
			for who, m := range w.nodes[id].table {
				if m.Status >= table[who].Status {
					table[who] = m
				}
			}
		}
		for who, m := range table {
			if m.Status == member.Down && !slices.Contains(side, who) {
				m.Status = member.Removed
				table[who] = m
				delete(rows, who)
			}
		}
		for _, id := range side {
			n := w.nodes[id]
			n.rows, n.table = maps.Clone(rows), maps.Clone(table)
			if n.table[id].Status >= member.Down {
				n.alive = false
				continue
			}
			w.inform(n, side)
		}
	}
}

// inform tells a resolver the difference to what it was told before.
func (w *world) inform(n *worldNode, side []member.NodeID) {
	v := View{Self: n.id, Seen: side}
	for _, id := range w.order {
		m := n.table[id]
		if m.Status == member.Removed {
			if _, ok := n.told[id]; ok {
				delete(n.told, id)
				delete(n.unreachable, id)
				w.tell(n, MemberRemoved{ID: id})
			}
			continue
		}
		v.Members = append(v.Members, m)
		if told, ok := n.told[id]; !ok || told.Status != m.Status || told.WeaklyUp != m.WeaklyUp {
			n.told[id] = m
			w.tell(n, MemberChanged{Member: m})
		}
	}
	for _, observer := range w.order {
		for _, subject := range n.rows[observer].subjects {
			if n.table[subject].Status != member.Removed {
				v.Observations = append(v.Observations, Observation{Observer: observer, Subject: subject})
			}
		}
	}
	v.Unreachable = UnreachableOf(v.Members, v.Observations)
	w.tell(n, ObservationsChanged{Observations: v.Observations})
	w.tell(n, SeenChanged{Seen: side})
	for _, m := range v.Members {
		switch is := slices.Contains(v.Unreachable, m.ID); {
		case is && !n.unreachable[m.ID]:
			n.unreachable[m.ID] = true
			w.tell(n, BecameUnreachable{Member: m})
		case !is && n.unreachable[m.ID]:
			delete(n.unreachable, m.ID)
			w.tell(n, BecameReachable{Member: m})
		}
	}
	if leader, _ := Leader(v); leader != n.leader {
		n.leader = leader
		w.tell(n, LeaderChanged{ID: leader})
	}
}

// tell steps a resolver and does what it wants.
func (w *world) tell(n *worldNode, e Event) {
	for _, f := range n.resolver.Step(w.now, e) {
		switch f := f.(type) {
		case Down:
			w.tellStory(n, f.Decision)
			for _, id := range f.Decision.Down {
				if m := n.table[id]; m.Status < member.Down {
					m.Status = member.Down
					n.table[id] = m
				}
			}
		case AcquireLease:
			w.lease.asked[n.id]++
			held := (w.lease.owner == "" || w.lease.owner == n.id) && (w.lease.reachable == nil || slices.Contains(w.lease.reachable, n.id))
			if held {
				w.lease.owner = n.id
			}
			w.tell(n, LeaseResult{Attempt: f.Attempt, Held: held})
		case ReleaseLease:
			if w.lease.owner == n.id {
				w.lease.owner = ""
				w.lease.released++
			}
			w.tell(n, ReleaseResult{Released: true})
		case Wait, Notice:
		}
	}
}

func (w *world) tellStory(n *worldNode, d Decision) {
	var side string
	for _, s := range w.sides() {
		if slices.Contains(s, n.id) {
			side = names(s)
		}
	}
	w.say("%s of [%s] downs [%s]", n.id, side, names(d.Down))
	w.say("      %s", strings.ReplaceAll(d.String(), ":25520", ""))
}

func (w *world) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if !strings.HasPrefix(line, " ") {
		line = fmt.Sprintf("%5s %s", w.now.Sub(w.start), line)
	}
	w.story = append(w.story, line)
}

func names(in []member.NodeID) string {
	out := make([]string, len(in))
	for i, id := range in {
		out[i] = string(id)
	}
	return strings.Join(out, " ")
}

// alive returns the nodes that are.
func (w *world) alive() []member.NodeID {
	var out []member.NodeID
	for _, id := range w.order {
		if w.nodes[id].alive {
			out = append(out, id)
		}
	}
	return out
}
