package sbr

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Resolver follows one node's view of the membership and says when which
// members must go. It is a state machine: it holds no clock, starts nothing and
// is used by one goroutine.
type Resolver struct {
	set    Settings
	self   member.NodeID
	center string

	members     map[member.NodeID]Member
	unreachable map[member.NodeID]bool
	records     []Observation
	seen        []member.NodeID
	leader      member.NodeID
	// joined: self was seen Up or weakly up, before which it decides nothing.
	joined bool
	// gone: self was removed, after which it decides nothing.
	gone bool

	// stableAt is when the view counts as stable.
	stableAt time.Time
	unrest   unrest
	lease    lease

	effects []Effect
}

// unrest counts changes of reachability since all was last well.
type unrest struct {
	first, latest time.Time
	changes       int
}

func (u *unrest) note(now time.Time) {
	if u.changes == 0 {
		u.first = now
	}
	u.latest = now
	u.changes++
}

// NewResolver returns the resolver of node self in the given center ("" for a
// cluster that has one). The error lists all problems of the settings.
func NewResolver(s Settings, self member.NodeID, center string) (*Resolver, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return &Resolver{
		set: s.WithDefaults(), self: self, center: center,
		members: make(map[member.NodeID]Member), unreachable: make(map[member.NodeID]bool),
	}, nil
}

// View returns what a decision would be based on now.
func (r *Resolver) View() View {
	members := byAddress(slices.Collect(maps.Values(r.members)))
	v := View{Self: r.self, Members: members, Observations: slices.Clone(r.records), Seen: slices.Clone(r.seen)}
	for _, m := range members {
		if r.unreachable[m.ID] {
			v.Unreachable = append(v.Unreachable, m.ID)
		}
	}
	return v
}

// Step tells the resolver what happened at now and returns what to do. now
// never goes back.
func (r *Resolver) Step(now time.Time, e Event) []Effect {
	r.effects = nil
	if r.gone {
		r.late(e)
		return r.effects
	}
	switch e := e.(type) {
	case MemberChanged:
		r.changed(now, e.Member)
	case MemberRemoved:
		r.removed(now, e.ID)
	case BecameUnreachable:
		r.reachability(now, e.Member, true)
	case BecameReachable:
		r.reachability(now, e.Member, false)
	case ObservationsChanged:
		r.records = slices.Clone(e.Observations)
	case SeenChanged:
		r.seen = slices.Clone(e.Seen)
	case LeaderChanged:
		r.leader = e.ID
	case CenterUnreachable:
		r.notice(OtherCenter, fmt.Sprintf("center %q is unreachable; its members are its own business", e.Center))
	case ShutOut:
		r.act(now, r.decision(proposal{action: DownSelf, rule: RuleShutOut, words: fmt.Sprintf("%s refuses this node for good: it goes", r.addr(e.By))}))
	case LeaseResult:
		r.leaseResult(now, e)
	case LeaseLost:
		r.lease.held = false
		r.lease.keep = keeping{}
	case ReleaseResult:
		r.releaseResult(now, e.Released)
	case Tick:
		r.tick(now)
	}
	return r.effects
}

func (r *Resolver) emit(e Effect) { r.effects = append(r.effects, e) }

func (r *Resolver) notice(k NoticeKind, text string) { r.emit(Notice{Kind: k, Text: text}) }

func (r *Resolver) addr(id member.NodeID) string {
	if m, ok := r.members[id]; ok {
		return m.Addr
	}
	return string(id)
}

// changed applies a new status. Only what changes the outcome of a decision
// here and now begins the wait again.
func (r *Resolver) changed(now time.Time, m Member) {
	if m.Center != r.center {
		return
	}
	if m.Status == member.Down && m.ID != r.self {
		// whoever downed it cannot reach it, even if this node still can
		r.turn(now, m, true)
		return
	}
	if m.Status == member.Removed {
		r.removed(now, m.ID)
		return
	}
	before := len(r.unreachable)
	r.members[m.ID] = m
	up := m.Status == member.Up && !m.WeaklyUp
	if m.ID == r.self && (up || m.WeaklyUp) {
		r.joined = true
	}
	if up || m.Status == member.Exiting {
		r.beginWait(now, before)
	}
	if s, ok := r.set.Strategy.(StaticQuorum); ok && up {
		if n := len(newScene(r.View(), s).counted(counting{})); s.TooMany(n) {
			r.notice(TooManyMembers, fmt.Sprintf("%d members are more than the %d that quorum-size %d is safe for; all members go when one becomes unreachable", n, 2*s.QuorumSize-1, s.QuorumSize))
		}
	}
}

func (r *Resolver) removed(now time.Time, id member.NodeID) {
	if id == r.self {
		r.gone = true
		r.stopLease()
		return
	}
	if _, ok := r.members[id]; !ok {
		return
	}
	delete(r.members, id)
	delete(r.unreachable, id)
	r.calm()
	r.lease.memberRemoved(now, id, r.releaseAfter())
}

func (r *Resolver) reachability(now time.Time, m Member, unreachable bool) {
	if m.ID == r.self || m.Center != r.center {
		return
	}
	if known, ok := r.members[m.ID]; ok && r.unreachable[m.ID] == unreachable {
		// no news, except perhaps of its status
		if known.Status.CanBecome(m.Status) {
			r.members[m.ID] = m
			r.calm()
		}
		return
	}
	r.turn(now, m, unreachable)
}

// turn records that a member became reachable or unreachable.
func (r *Resolver) turn(now time.Time, m Member, unreachable bool) {
	before := len(r.unreachable)
	r.members[m.ID] = m
	if unreachable {
		r.unreachable[m.ID] = true
	} else {
		delete(r.unreachable, m.ID)
	}
	r.unrest.note(now)
	r.calm()
	r.beginWait(now, before)
}

// calm forgets the unrest when no counted member is unreachable.
func (r *Resolver) calm() {
	for id := range r.unreachable {
		if (counting{}).includes(r.members[id]) {
			return
		}
	}
	r.unrest = unrest{}
}

// beginWait starts the wait for a stable view again; before is how many were
// unreachable before the change.
func (r *Resolver) beginWait(now time.Time, before int) {
	r.stableAt = now.Add(max(r.set.StableAfter, 0))
	if r.lease.waiting() {
		r.lease.changes = true
	}
	if !r.responsible() {
		return
	}
	switch after := len(r.unreachable); {
	case before == 0 && after > 0:
		r.notice(Waiting, fmt.Sprintf("%d members are unreachable; deciding in %v unless that changes", after, max(r.set.StableAfter, 0)))
	case before > 0 && after == 0:
		r.notice(Healed, "all members are reachable again; nothing to decide")
	case after > 0:
		r.notice(Changed, fmt.Sprintf("the membership changed while %d members are unreachable; deciding in %v unless it changes again", after, max(r.set.StableAfter, 0)))
	}
}

func (r *Resolver) responsible() bool {
	if !r.joined || r.gone {
		return false
	}
	if r.set.Responsible == OldestActs {
		id, ok := Oldest(r.View(), "")
		return ok && id == r.self
	}
	return r.leader == r.self
}

func (r *Resolver) tick(now time.Time) {
	if r.lease.waiting() {
		r.leaseTick(now)
		return
	}
	if r.unrest.changes > 0 {
		limit := max(r.set.StableAfter, 0)
		switch off := r.set.DownAllWhenUnstable == Off; {
		case !off && now.Sub(r.unrest.first) > limit+r.set.DownAllWhenUnstable:
			// every node acts on this, not only the responsible one: who that is may
			// be what the sides disagree on
			r.act(now, r.decision(proposal{action: DownEverybody, rule: RuleUnstable, words: fmt.Sprintf(
				"members have been unreachable for %v, with %d changes, and nothing was decided: the sides may disagree, all go", now.Sub(r.unrest.first), r.unrest.changes)}))
		case off && now.Sub(r.unrest.latest) > 2*limit:
			r.unrest = unrest{}
		}
	}
	if len(r.unreachable) > 0 && !now.Before(r.stableAt) && r.responsible() {
		if d := Decide(r.set.Strategy, r.View()); d.Lease && !r.lease.held {
			r.awaitLease(now, d)
		} else {
			r.act(now, d)
		}
	}
	r.releaseDue(now)
}

func (r *Resolver) decision(p proposal) Decision {
	return newScene(r.View(), r.set.Strategy).decision(r.set.Strategy, p)
}

// act passes a decision on. A decision that downs nobody, because those whom
// it means are Down or Exiting anyway, leaves the timers alone.
func (r *Resolver) act(now time.Time, d Decision) {
	if len(d.Down) == 0 {
		return
	}
	r.emit(Down{Decision: d})
	r.unrest = unrest{}
	r.stableAt = now.Add(max(r.set.StableAfter, 0))
}
