package sbr

import (
	"cmp"
	"slices"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Member is a member as the strategies see it.
type Member struct {
	member.Member
	// WeaklyUp says that the member was let in while others were unreachable.
	// The strategies treat it as Joining: it is not counted, but it is downed
	// together with its side. Holdfast has no such status of its own, because
	// its leader can always commit Up; the field is for views from elsewhere.
	WeaklyUp bool
	// Center is the data centre the member belongs to. Members of another
	// center than Self's are neither counted nor downed: each center decides for
	// itself. A Holdfast cluster has one, "".
	Center string
}

// Observation says that Observer cannot reach Subject.
type Observation struct {
	Observer, Subject member.NodeID
}

// View is what one side of a partition knows when it decides. It is read,
// never kept or changed.
type View struct {
	// Self is the node that decides; it is downed last. It must be a member for
	// its Center to apply.
	Self member.NodeID
	// Members of all sides, in any order.
	Members []Member
	// Unreachable members: those that somebody on this side cannot reach.
	Unreachable []member.NodeID
	// Observations say who cannot reach whom. They reveal members that are cut
	// off from some but not from all of a side.
	Observations []Observation
	// Seen lists the members known to hold the current view. Somebody must have
	// told them, so an unreachable member among them is connected by a detour.
	Seen []member.NodeID
}

// UnreachableOf returns the subjects of observations, in address order, as the
// members together must take them to be: what a member says who is down, who
// belongs to another center, or who speaks about itself does not count.
func UnreachableOf(members []Member, observations []Observation) []member.NodeID {
	byID := make(map[member.NodeID]Member, len(members))
	for _, m := range members {
		byID[m.ID] = m
	}
	subjects := make(map[member.NodeID]bool)
	for _, o := range observations {
		from, ok := byID[o.Observer]
		to, ok2 := byID[o.Subject]
		if ok && ok2 && o.Observer != o.Subject && from.Status != member.Down && from.Center == to.Center {
			subjects[o.Subject] = true
		}
	}
	var out []member.NodeID
	for _, m := range byAddress(members) {
		if subjects[m.ID] {
			out = append(out, m.ID)
		}
	}
	return out
}

// Leader returns the member that acts for Self's side when no consensus names
// one: the first reachable member in address order, members that are Up or
// Leaving before all others, and never one that is Down. Self counts as
// reachable. It reports false when nobody is left.
func Leader(v View) (member.NodeID, bool) {
	sc := newSceneOf(v, "", compareLeadership)
	for _, m := range sc.members {
		if m.Status != member.Down && m.Status != member.Removed && (m.ID == v.Self || !sc.unreachable[m.ID]) {
			return m.ID, true
		}
	}
	return "", false
}

// Oldest returns the oldest counted member of Self's side that carries role.
func Oldest(v View, role string) (member.NodeID, bool) {
	sc := newSceneOf(v, role, compareAge)
	for _, m := range sc.counted(counting{}) {
		if m.ID == v.Self || !sc.unreachable[m.ID] {
			return m.ID, true
		}
	}
	return "", false
}

func compareAddress(a, b Member) int {
	return cmp.Or(member.CompareAddr(a.Addr, b.Addr), cmp.Compare(a.ID, b.ID))
}

func compareAge(a, b Member) int { return member.CompareAge(a.Member, b.Member) }

func compareLeadership(a, b Member) int {
	return cmp.Or(cmp.Compare(leadershipRank(a), leadershipRank(b)), compareAddress(a, b))
}

func leadershipRank(m Member) int {
	switch m.Status {
	case member.Joining:
		if m.WeaklyUp {
			return 1
		}
		return 2
	case member.Exiting:
		return 3
	case member.Down, member.Removed:
		return 4
	case member.Up, member.Leaving:
		return 0
	}
	return 4
}

func byAddress(members []Member) []Member {
	return slices.SortedFunc(slices.Values(members), compareAddress)
}

// scene is a view prepared for deciding: restricted to Self's center, members in
// the order of the strategy, with sets for what is looked up.
type scene struct {
	self        member.NodeID
	role        string
	members     []Member
	byAddress   []Member
	unreachable map[member.NodeID]bool
	records     []Observation
	seen        map[member.NodeID]bool
}

func newScene(v View, s Strategy) *scene {
	role, order := s.counts()
	return newSceneOf(v, role, order)
}

func newSceneOf(v View, role string, order func(a, b Member) int) *scene {
	center := ""
	for _, m := range v.Members {
		if m.ID == v.Self {
			center = m.Center
		}
	}
	sc := &scene{self: v.Self, role: role, unreachable: make(map[member.NodeID]bool), seen: make(map[member.NodeID]bool)}
	known := make(map[member.NodeID]bool, len(v.Members))
	for _, m := range v.Members {
		if m.Center == center && m.Status != member.Removed && !known[m.ID] {
			known[m.ID] = true
			sc.byAddress = append(sc.byAddress, m)
		}
	}
	slices.SortFunc(sc.byAddress, compareAddress)
	sc.members = slices.SortedStableFunc(slices.Values(sc.byAddress), order)
	for _, id := range v.Unreachable {
		if known[id] {
			sc.unreachable[id] = true
		}
	}
	for _, o := range v.Observations {
		if known[o.Observer] && known[o.Subject] {
			sc.records = append(sc.records, o)
		}
	}
	for _, id := range v.Seen {
		sc.seen[id] = true
	}
	return sc
}

// with returns the scene as it looks with other records only: who is
// unreachable follows from them.
func (sc *scene) with(records []Observation) *scene {
	next := *sc
	next.records = records
	next.unreachable = make(map[member.NodeID]bool)
	for _, r := range records {
		next.unreachable[r.Subject] = true
	}
	return &next
}

// counting says which members a count includes besides those that are
// certainly in: Down and Exiting members never are.
type counting struct {
	// possiblyUp includes Joining and weakly-up members, which another side may
	// have seen come up.
	possiblyUp bool
	// certainlyStaying excludes Leaving members, which another side may have
	// seen exit.
	certainlyStaying bool
}

func joining(m Member) bool { return m.Status == member.Joining || m.WeaklyUp }

func (c counting) includes(m Member) bool {
	switch {
	case m.Status == member.Down || m.Status == member.Exiting || m.Status == member.Removed:
		return false
	case joining(m):
		return c.possiblyUp
	case m.Status == member.Leaving:
		return !c.certainlyStaying
	}
	return true
}

// counted returns the members that carry the scene's role and that c includes.
func (sc *scene) counted(c counting) []Member {
	var out []Member
	for _, m := range sc.members {
		if c.includes(m) && m.HasRole(sc.role) {
			out = append(out, m)
		}
	}
	return out
}

// split cuts counted members into those here and those there.
func (sc *scene) split(c counting) (here, there []Member) {
	for _, m := range sc.counted(c) {
		if sc.unreachable[m.ID] {
			there = append(there, m)
		} else {
			here = append(here, m)
		}
	}
	return here, there
}

// downable returns the members that a decision may down: all but those that
// are Down or Exiting anyway. The role restricts who is counted, not who goes.
func (sc *scene) downable() []Member {
	var out []Member
	for _, m := range sc.members {
		if (counting{possiblyUp: true}).includes(m) {
			out = append(out, m)
		}
	}
	return out
}
