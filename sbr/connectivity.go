package sbr

import "github.com/holdfast-go/holdfast/cluster/member"

// links holds the members that are cut off from some members of a side but
// not from all of it.
type links struct {
	// cycle: members that cannot reach somebody and that somebody cannot reach.
	// A clean partition or a crash produces none, as nobody hears what the other
	// side observes.
	cycle map[member.NodeID]bool
	// seen: both ends of links whose unreachable end holds the current view all
	// the same.
	seen map[member.NodeID]bool
}

func (l links) any(id member.NodeID) bool { return l.cycle[id] || l.seen[id] }
func (l links) found() bool               { return len(l.cycle)+len(l.seen) > 0 }

// indirect finds the indirectly connected members.
func (sc *scene) indirect() links {
	observers, subjects := make(map[member.NodeID]bool), make(map[member.NodeID]bool)
	for _, r := range sc.records {
		observers[r.Observer], subjects[r.Subject] = true, true
	}
	l := links{cycle: make(map[member.NodeID]bool), seen: make(map[member.NodeID]bool)}
	for id := range observers {
		if subjects[id] {
			l.cycle[id] = true
		}
	}
	for _, r := range sc.records {
		if sc.seen[r.Subject] {
			l.seen[r.Observer], l.seen[r.Subject] = true, true
		}
	}
	return l
}

// besides decides again as if the broken links among the indirectly connected
// did not exist, and returns whom that second decision downs, and why: a
// partition or a crash may have come on top. It fails when there still are broken links.
func (sc *scene) besides(s Strategy, ic links) (down map[member.NodeID]bool, why string, err error) {
	left := false
	for id := range sc.unreachable {
		left = left || !ic.any(id)
	}
	if !left {
		return nil, "", nil
	}
	downable := make(map[member.NodeID]bool)
	for _, m := range sc.downable() {
		downable[m.ID] = true
	}
	var records []Observation
	for _, r := range sc.records {
		broken := ic.cycle[r.Observer] && ic.cycle[r.Subject] || ic.seen[r.Observer] && ic.seen[r.Subject]
		if downable[r.Observer] && downable[r.Subject] && !broken {
			records = append(records, r)
		}
	}
	again := sc.with(records)
	p := s.propose(again)
	if p.action == DownIndirect {
		return nil, "", errDoubleIndirect
	}
	down, _, err = again.nodesToDown(s, p.action)
	return down, "without those links: " + p.words, err
}
