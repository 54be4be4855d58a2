package placement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/allocation"
)

// Policy bounds what [Plan] proposes. The zero value is the default policy.
type Policy struct {
	// MaxMoves bounds the shards, of all types together, that are Moving while
	// Plan begins moves only to even out the load. Evacuating a node that
	// leaves is not bounded: its time is. Defaults to 50.
	MaxMoves int
	// MaxOps bounds the ops of one decision, so that one command of the table
	// stays small. What is left over follows in the next plan. Defaults to 4096.
	MaxOps int
}

// Defaults of [Policy].
const (
	DefaultMaxMoves = 50
	DefaultMaxOps   = 4096
)

// WithDefaults returns the policy with zero fields replaced by their defaults.
func (p Policy) WithDefaults() Policy {
	p.MaxMoves = cmp.Or(p.MaxMoves, DefaultMaxMoves)
	p.MaxOps = cmp.Or(p.MaxOps, DefaultMaxOps)
	return p
}

// Validate reports all problems of the policy at once.
func (p Policy) Validate() error {
	var errs []error
	if p.MaxMoves < 0 {
		errs = append(errs, fmt.Errorf("placement: Policy.MaxMoves is %d: use a positive number, or 0 for %d", p.MaxMoves, DefaultMaxMoves))
	}
	if p.MaxOps < 0 {
		errs = append(errs, fmt.Errorf("placement: Policy.MaxOps is %d: use a positive number, or 0 for %d", p.MaxOps, DefaultMaxOps))
	}
	return errors.Join(errs...)
}

// Input is what the coordinator looks at. Plan changes none of it.
type Input struct {
	Table   *Table
	Members []member.Member
	// Suspended reports whether a member must be given nothing now, because it
	// is silent. nil means that none is.
	Suspended func(member.NodeID) bool
	// Role answers the role a member needs in order to own shards of a type, ""
	// for none. nil means that no type needs one.
	Role func(entityType string) string
}

// Action says what the ops of a [Reason] are for. The texts appear in logs.
type Action string

// Actions.
const (
	// Place gives unassigned shards to members.
	Place Action = "place"
	// Evacuate moves shards away from members that leave.
	Evacuate Action = "evacuate"
	// Rebalance moves shards to even out the load.
	Rebalance Action = "rebalance"
	// Wait means that something should be done and cannot be done yet. It comes
	// without ops and again with every plan, until it can.
	Wait Action = "wait"
)

// Reason explains the ops of one entity type and action, or why there are none.
type Reason struct {
	Type   string
	Action Action
	// Shards counts the ops; for Wait, the shards that wait, 0 when they cannot
	// be told.
	Shards int
	// Text says why, with the values that led to it.
	Text string
}

// Decision is what should happen to the table.
type Decision struct {
	// Ops for [Table.Apply], in order of type: places first, then moves.
	Ops []Op
	// Reasons has one entry for each type and action.
	Reasons []Reason
	// More says that MaxOps cut the decision short: plan again after applying it.
	More bool
}

// Plan proposes what should happen to the table now. It keeps no memory: a new
// leader derives the same from the table. It is to be called after each change
// of the table, the members, or who is suspended; ops that it proposed before
// and that have been applied are visible in the table, so it does not repeat
// them, and ops that were lost are proposed again.
//
// A member is eligible for a type when it is Up, has the type's role and is not
// suspended.
//
//  1. Every Unassigned shard is assigned at once: to its To wish when that
//     member is eligible, else to the member that [allocation.Loads.Pick] says.
//  2. Every Running shard of a member that leaves, or that does not have the
//     role, begins to move to an eligible member, all at once.
//  3. Otherwise, when two eligible members differ by more than one shard, at
//     most MaxMoves shards at a time move from the fullest to the emptiest. This
//     waits while a shard of the type is unassigned, while a member is Joining,
//     Leaving, Exiting or suspended, and while members run different app
//     versions, because each of these is about to move shards anyway.
//
// A shard that moves is counted where it goes, so that plans do not chase their
// own moves.
func Plan(in Input, p Policy) Decision {
	p = p.WithDefaults()
	pl := planner{in: in, policy: p, members: slices.Clone(in.Members), totals: map[member.NodeID]int{}}
	slices.SortFunc(pl.members, func(a, b member.Member) int {
		return cmp.Or(member.CompareAddr(a.Addr, b.Addr), cmp.Compare(a.ID, b.ID))
	})
	types := in.Table.Types()
	for _, name := range types {
		for _, row := range in.Table.Shards(name) {
			if row.State == Moving {
				pl.moving++
			}
			if holder := heldBy(row); holder != "" {
				pl.totals[holder]++
			}
		}
	}
	for _, name := range types {
		pl.plan(name)
	}
	return pl.out
}

// heldBy is the member that a shard counts for: where it goes, else where it is.
func heldBy(row Shard) member.NodeID {
	switch row.State {
	case Unassigned:
		return ""
	case Moving:
		return row.To
	case Running:
	}
	return row.Owner
}

// planner is the work space of one Plan.
type planner struct {
	in      Input
	policy  Policy
	members []member.Member // in address order
	totals  map[member.NodeID]int
	moving  int
	out     Decision
}

// evacuee is a shard that should leave its owner.
type evacuee struct {
	shard int
	owner member.NodeID
	epoch uint64
}

// plan decides for one entity type.
func (pl *planner) plan(name string) {
	rows := pl.in.Table.Shards(name)
	role := ""
	if pl.in.Role != nil {
		role = pl.in.Role(name)
	}
	loads := pl.loads(rows, role)
	leaving := map[member.NodeID]bool{}
	for _, m := range pl.members {
		leaving[m.ID] = m.Status == member.Leaving || m.Status == member.Exiting || m.Status == member.Up && !m.HasRole(role)
	}

	var unassigned []int
	var evacuees []evacuee
	for i, row := range rows {
		switch {
		case row.State == Unassigned:
			unassigned = append(unassigned, i)
		case row.State == Running && leaving[row.Owner]:
			evacuees = append(evacuees, evacuee{i, row.Owner, row.Epoch})
		}
	}
	if n := len(unassigned) + len(evacuees); n > 0 && loads.Len() == 0 {
		pl.reason(name, Wait, n, fmt.Sprintf("%d shards are unassigned and %d should move, but no member is eligible: %s", len(unassigned), len(evacuees), pl.whyNone(role)))
		return
	}
	pl.place(name, unassigned, rows, loads)
	pl.evacuate(name, evacuees, loads)
	if len(unassigned)+len(evacuees) == 0 {
		pl.rebalance(name, rows, loads, role)
	}
}

// loads is the score board of the eligible members.
func (pl *planner) loads(rows []Shard, role string) *allocation.Loads {
	held := map[member.NodeID]int{}
	for _, row := range rows {
		if holder := heldBy(row); holder != "" {
			held[holder]++
		}
	}
	var nodes []allocation.Node
	for _, m := range pl.members {
		if m.Status == member.Up && m.HasRole(role) && !pl.suspended(m.ID) {
			nodes = append(nodes, allocation.Node{ID: m.ID, Addr: m.Addr, Version: m.AppVersion, Shards: held[m.ID], Total: pl.totals[m.ID]})
		}
	}
	return allocation.NewLoads(len(rows), nodes)
}

// place assigns unassigned shards: wishes first, so that the others are spread
// over what remains.
func (pl *planner) place(name string, unassigned []int, rows []Shard, loads *allocation.Loads) {
	var rest []int
	wishes, n := 0, 0
	for _, i := range unassigned {
		to := rows[i].To
		if to == "" || pl.full() || !loads.Add(to) {
			rest = append(rest, i)
			continue
		}
		pl.op(Op{Kind: Assign, Key: Key{name, i}, Node: to}, "")
		wishes, n = wishes+1, n+1
	}
	for _, i := range rest {
		to, ok := loads.Pick()
		if !ok || pl.full() {
			break
		}
		loads.Add(to)
		pl.op(Op{Kind: Assign, Key: Key{name, i}, Node: to}, "")
		n++
	}
	if n > 0 {
		pl.reason(name, Place, n, fmt.Sprintf("%d of %d shards were unassigned: %d go where they were moving to, the others to the members with the fewest of %d", len(unassigned), len(rows), wishes, loads.Len()))
	}
}

// evacuate moves shards away from members that leave, all at once.
func (pl *planner) evacuate(name string, evacuees []evacuee, loads *allocation.Loads) {
	owners := map[member.NodeID]bool{}
	n := 0
	for _, e := range evacuees {
		to, ok := loads.Pick()
		if !ok || pl.full() {
			break
		}
		loads.Add(to)
		pl.op(Op{Kind: BeginMove, Key: Key{name, e.shard}, Node: to, Epoch: e.epoch}, e.owner)
		pl.moving++
		owners[e.owner] = true
		n++
	}
	if n > 0 {
		pl.reason(name, Evacuate, n, fmt.Sprintf("%d members leave or do not have the role; their shards go to the members with the fewest of %d", len(owners), loads.Len()))
	}
}

// rebalance evens out the load, a bounded number of shards at a time.
func (pl *planner) rebalance(name string, rows []Shard, loads *allocation.Loads, role string) {
	spread := loads.Spread()
	if spread <= 1 {
		return
	}
	if why := pl.unsettled(loads, role); why != "" {
		pl.reason(name, Wait, 0, fmt.Sprintf("members differ by %d shards, but %s", spread, why))
		return
	}
	if pl.full() {
		return
	}
	moves := loads.Even(min(pl.policy.MaxMoves-pl.moving, pl.policy.MaxOps-len(pl.out.Ops)))
	next := map[member.NodeID]int{} // where to go on looking for a shard of a member
	n := 0
	for _, mv := range moves {
		i := next[mv.From]
		for i < len(rows) && (rows[i].State != Running || rows[i].Owner != mv.From) {
			i++
		}
		next[mv.From] = i + 1
		if i >= len(rows) {
			continue // what counts for the member is still on its way to it
		}
		pl.op(Op{Kind: BeginMove, Key: Key{name, i}, Node: mv.To, Epoch: rows[i].Epoch}, mv.From)
		pl.moving++
		n++
	}
	if n > 0 {
		pl.reason(name, Rebalance, n, fmt.Sprintf("members differ by %d shards; %d of at most %d moves are now under way", spread, pl.moving, pl.policy.MaxMoves))
	}
}

// unsettled says what is about to move shards anyway, "" when nothing is.
func (pl *planner) unsettled(loads *allocation.Loads, role string) string {
	for _, m := range pl.members {
		switch {
		case !m.HasRole(role):
		case m.Status == member.Joining, m.Status == member.Leaving, m.Status == member.Exiting:
			return fmt.Sprintf("member %s is %s", m.Node, m.Status)
		case m.Status == member.Up && pl.suspended(m.ID):
			return fmt.Sprintf("member %s is silent", m.Node)
		}
	}
	if loads.Mixed() {
		return "members run different app versions"
	}
	return ""
}

// whyNone says why no member is eligible.
func (pl *planner) whyNone(role string) string {
	up, withRole, silent := 0, 0, 0
	for _, m := range pl.members {
		switch {
		case m.Status != member.Up:
		case !m.HasRole(role):
			up++
		case pl.suspended(m.ID):
			up, withRole, silent = up+1, withRole+1, silent+1
		}
	}
	if role == "" {
		return fmt.Sprintf("of %d members %d are up, of which %d are silent", len(pl.members), up, silent)
	}
	return fmt.Sprintf("of %d members %d are up, of which %d have role %q, of which %d are silent", len(pl.members), up, withRole, role, silent)
}

func (pl *planner) suspended(id member.NodeID) bool {
	return pl.in.Suspended != nil && pl.in.Suspended(id)
}

// full reports whether the decision is at its bound, and notes it.
func (pl *planner) full() bool {
	if len(pl.out.Ops) < pl.policy.MaxOps {
		return false
	}
	pl.out.More = true
	return true
}

// op proposes op, which takes a shard from a member when from is not "".
func (pl *planner) op(op Op, from member.NodeID) {
	pl.out.Ops = append(pl.out.Ops, op)
	pl.totals[op.Node]++
	if from != "" {
		pl.totals[from]--
	}
}

func (pl *planner) reason(name string, a Action, shards int, text string) {
	pl.out.Reasons = append(pl.out.Reasons, Reason{Type: name, Action: a, Shards: shards, Text: text})
}
