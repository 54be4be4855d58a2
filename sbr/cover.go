package sbr

import (
	"fmt"
	"slices"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// coverSteps bounds the search for the smallest cover; beyond it the best one
// found so far serves.
const coverSteps = 1 << 14

// Cover decides about members that all reach the leader but not one another,
// for a cluster in which one node decides for all: it returns the smallest set
// of members without whom every remaining pair can talk. The most cut off go
// first, and of equals the youngest. Observations that involve an unreachable member are left
// out, as that one's silence is decided elsewhere; one direction breaks a pair.
//
// keep lists members that must stay, such as the leader; a pair of two such
// members stays broken and is named in the reason.
func Cover(v View, keep []member.NodeID) Decision {
	sc := newSceneOf(v, "", compareAddress)
	g := newPairs(sc, keep)
	cover, exact := g.smallest()
	down := make(map[member.NodeID]bool, len(cover))
	for _, id := range cover {
		down[id] = true
	}
	r := Reason{Strategy: "pairwise", Rule: RuleIndirect}
	d := Decision{Action: DownNobody}
	for _, m := range sc.members {
		switch {
		case down[m.ID]:
			d.Action = DownIndirect
			r.There = append(r.There, m.Addr)
			if m.ID != sc.self {
				d.Down = append(d.Down, m.ID)
			}
		case !(counting{possiblyUp: true}).includes(m) || sc.unreachable[m.ID]:
			r.Aside = append(r.Aside, m.Addr)
		default:
			r.Here = append(r.Here, m.Addr)
		}
	}
	if down[sc.self] {
		d.Down = append(d.Down, sc.self)
	}
	switch {
	case g.pairs == 0:
		r.Rule, r.Words = RuleReachable, "every pair of members can talk"
	case exact:
		r.Words = fmt.Sprintf("pairs that cannot talk: %d; fewest members to go so that none is left: %d", g.pairs, len(cover))
	default:
		r.Words = fmt.Sprintf("pairs that cannot talk: %d; members to go so that none is left: %d, fewer might do", g.pairs, len(cover))
	}
	if g.stuck > 0 {
		r.Words += fmt.Sprintf("; pairs that remain because both must stay: %d", g.stuck)
	}
	d.Reason = r
	return d
}

// pairs is the graph of members that cannot talk.
type pairs struct {
	nodes []member.NodeID // youngest first
	// edges: for each node, by index, those it cannot talk to.
	edges  []map[int]bool
	forced []int // ends of pairs whose other end must stay
	pairs  int
	stuck  int // pairs of which both ends must stay
	steps  int
}

func newPairs(sc *scene, keep []member.NodeID) *pairs {
	g := &pairs{}
	index := make(map[member.NodeID]int)
	members := sc.downable()
	slices.SortFunc(members, func(a, b Member) int { return compareAge(b, a) })
	for _, m := range members {
		if !sc.unreachable[m.ID] {
			index[m.ID] = len(g.nodes)
			g.nodes = append(g.nodes, m.ID)
			g.edges = append(g.edges, make(map[int]bool))
		}
	}
	forced := make(map[int]bool)
	type pair struct{ a, b int }
	done := make(map[pair]bool)
	for _, o := range sc.records {
		a, okA := index[o.Observer]
		b, okB := index[o.Subject]
		if !okA || !okB || a == b {
			continue
		}
		p := pair{min(a, b), max(a, b)}
		if done[p] {
			continue
		}
		done[p] = true
		g.pairs++
		stayA, stayB := slices.Contains(keep, o.Observer), slices.Contains(keep, o.Subject)
		switch {
		case stayA && stayB:
			g.stuck++
		case stayA:
			forced[b] = true
		case stayB:
			forced[a] = true
		default:
			g.edges[a][b], g.edges[b][a] = true, true
		}
	}
	for i := range g.nodes {
		if forced[i] {
			g.forced = append(g.forced, i)
			g.remove(i)
		}
	}
	return g
}

// remove takes a node out and returns whom it was cut off from.
func (g *pairs) remove(i int) (was []int) {
	for j := range g.edges[i] {
		delete(g.edges[j], i)
		was = append(was, j)
	}
	g.edges[i] = make(map[int]bool)
	return was
}

func (g *pairs) restore(i int, was []int) {
	for _, j := range was {
		g.edges[i][j], g.edges[j][i] = true, true
	}
}

// smallest returns a smallest cover, or, when the search would take too long,
// one that takes the most cut off member each time.
func (g *pairs) smallest() (cover []member.NodeID, exact bool) {
	best := g.greedy()
	g.search(nil, &best)
	for _, i := range append(best, g.forced...) {
		cover = append(cover, g.nodes[i])
	}
	return cover, g.steps < coverSteps
}

// busiest returns the member that is cut off from the most others, the
// youngest of equals.
func (g *pairs) busiest() (node, degree int) {
	for i := range g.nodes {
		if len(g.edges[i]) > degree {
			node, degree = i, len(g.edges[i])
		}
	}
	return node, degree
}

func (g *pairs) greedy() (cover []int) {
	type removed struct {
		node int
		was  []int
	}
	var undo []removed
	for {
		i, degree := g.busiest()
		if degree == 0 {
			break
		}
		undo = append(undo, removed{i, g.remove(i)})
		cover = append(cover, i)
	}
	for _, u := range slices.Backward(undo) {
		g.restore(u.node, u.was)
	}
	return cover
}

// search tries to beat best: either the busiest member goes, or all go that it
// is cut off from.
func (g *pairs) search(taken []int, best *[]int) {
	if g.steps++; g.steps >= coverSteps {
		return
	}
	i, degree := g.busiest()
	if degree == 0 {
		if len(taken) < len(*best) {
			*best = slices.Clone(taken)
		}
		return
	}
	if len(taken)+1 >= len(*best) {
		return // one more at least: no better than the best
	}
	was := g.remove(i)
	g.search(append(taken, i), best)
	g.restore(i, was)

	others := slices.Sorted(func(yield func(int) bool) {
		for j := range g.edges[i] {
			if !yield(j) {
				return
			}
		}
	})
	if len(taken)+len(others) >= len(*best) {
		return
	}
	undo := make([][]int, len(others))
	for k, j := range others {
		undo[k] = g.remove(j)
	}
	g.search(append(taken, others...), best)
	for k, j := range slices.Backward(others) {
		g.restore(j, undo[k])
	}
}
