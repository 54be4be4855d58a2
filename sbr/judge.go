package sbr

import (
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Verdict says what a side of a cluster on raft may do.
type Verdict uint8

const (
	// Stop: the side gives up. Its sessions run out and its nodes restart.
	Stop Verdict = 1 + iota
	// Continue: the side goes on in this generation.
	Continue
	// MayForce: the side has no quorum, and nor can any other have one: it may
	// claim the next generation on the arbiter row, and goes on if it wins.
	MayForce
)

// String returns "stop", "continue" or "may-force".
func (v Verdict) String() string {
	switch v {
	case Stop:
		return "stop"
	case Continue:
		return "continue"
	case MayForce:
		return "may-force"
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// ForceDelay is how long a side waits before it claims the next generation
// when the strategy prefers another side that may do the same.
const ForceDelay = time.Second

// Side is what one side of a cluster on raft knows when it asks whether it may
// go on.
type Side struct {
	// Members of the table, on all sides.
	Members []Member
	// Voters as registered, and the set they are being changed to: nil when no
	// change is pending.
	Voters, NextVoters []member.NodeID
	// Here lists the members that this side reaches, the deciding one included.
	// Those that vote must have promised to serve the generation no more before
	// the side acts on MayForce.
	Here []member.NodeID
	// Dead lists the members certified dead: refused, replaced at their address,
	// or reported stopped.
	Dead []member.NodeID
	// Quorum says that a leader of this generation confirms sessions here.
	Quorum bool
	// Store says that there is an arbiter row to claim a generation on.
	Store bool
	// AllowLossy lets a side that holds fewer than half of the voters claim: it may
	// miss the last commits, and waits one session TTL before it grants any.
	AllowLossy bool
	// Abdicated says that the arbiter row shows that the side with the quorum
	// gave this generation up, see [KeepOldest].
	Abdicated bool
}

// Judgement is what a side may do, and why.
type Judgement struct {
	Verdict Verdict
	// After is how long to wait before claiming: another side comes first.
	After time.Duration
	// Lossy says that the claim may lose the last commits.
	Lossy bool
	// Abdicate says that the side holds the quorum and must record on the arbiter
	// row that it gives the generation up.
	Abdicate bool
	// Down lists the members that a side which continues downs, in address order.
	Down   []member.NodeID
	Reason Reason
}

// String returns the judgement and its reason in one line.
func (j Judgement) String() string {
	s := j.Verdict.String()
	if j.Lossy {
		s += " lossy"
	}
	if j.After > 0 {
		s += " after " + j.After.String()
	}
	if j.Abdicate {
		s += " and abdicate"
	}
	return s + ": " + j.Reason.String()
}

// Rules of [Judge] besides those of the strategies.
const (
	RuleVoterQuorum    Rule = "voter-quorum"
	RuleOtherQuorum    Rule = "others-may-have-quorum"
	RuleHalf           Rule = "half-of-the-voters"
	RuleLossy          Rule = "fewer-than-half-of-the-voters"
	RuleNoStore        Rule = "no-store"
	RuleRegisteredNone Rule = "no-voters"
	RulePreference     Rule = "strategy-prefers-another-side"
)

// Judge says whether a side of a cluster on raft goes on. The side with the
// quorum may always do so safely; a strategy can only make it stop. A side
// without may claim the next generation, if the strategy lets it and if no other
// side can reach the quorum any more. All sides that claim contend for one row,
// so one wins.
//
//	strategy         side with quorum                  side without
//	keep-majority    continues                         claims; a tie of voters: lowest address first
//	static-quorum    continues with enough members     claims with enough members
//	keep-oldest      continues; strict: not without    claims; a tie: the oldest first; strict: only
//	                 the oldest                        with the oldest
//	down-all         stops                             stops
//	lease-majority   continues                         claims (the row is the lease); the minority later
//
// A nil strategy is KeepMajority.
func Judge(s Strategy, side Side) Judgement {
	s = orDefault(s)
	c := newCount(s, side)
	if side.Quorum && len(c.scene.unreachable) == 0 {
		return c.judgement(Continue, RuleReachable, "everybody is reachable")
	}
	var p preference
	if len(c.scene.unreachable) > 0 {
		p = s.onVoters(c)
	}
	switch {
	case p.stop:
		j := c.judgement(Stop, p.rule, p.words)
		j.Abdicate = p.abdicate && side.Quorum && side.Store
		return j
	case side.Quorum:
		return c.judgement(Continue, RuleVoterQuorum, fmt.Sprintf("a leader confirms sessions here with the quorum of %d voters: the others go", len(side.Voters)))
	}
	return c.force(p)
}

// count is a side prepared for judging.
type count struct {
	strategy    Strategy
	side        Side
	scene       *scene
	here, there []Member // counted by the strategy
	isHere      map[member.NodeID]bool
	isDead      map[member.NodeID]bool
}

func newCount(s Strategy, side Side) *count {
	c := &count{strategy: s, side: side, isHere: make(map[member.NodeID]bool), isDead: make(map[member.NodeID]bool)}
	for _, id := range side.Here {
		c.isHere[id] = true
	}
	for _, id := range side.Dead {
		c.isDead[id] = !c.isHere[id]
	}
	v := View{Members: side.Members}
	if len(side.Here) > 0 {
		v.Self = side.Here[0]
	}
	for _, m := range side.Members {
		if !c.isHere[m.ID] {
			v.Unreachable = append(v.Unreachable, m.ID)
		}
	}
	c.scene = newScene(v, s)
	c.here, c.there = c.scene.split(counting{})
	return c
}

func (c *count) judgement(v Verdict, rule Rule, words string) Judgement {
	j := Judgement{Verdict: v, Reason: c.scene.reason(c.strategy, proposal{rule: rule, words: words})}
	if v == Continue {
		for _, m := range c.scene.byAddress {
			if (counting{possiblyUp: true}).includes(m) && !c.isHere[m.ID] {
				j.Down = append(j.Down, m.ID)
			}
		}
	}
	return j
}

// force judges a side without quorum that the strategy would let go on.
func (c *count) force(p preference) Judgement {
	if len(c.side.Voters) == 0 {
		return c.judgement(Stop, RuleRegisteredNone, "no voters are registered, so nobody can tell whether another side goes on: this side stops")
	}
	lossy := false
	for _, voters := range c.registered() {
		here, left := c.countVoters(voters)
		if quorum := len(voters)/2 + 1; left >= quorum && !c.side.Abdicated {
			return c.judgement(Stop, RuleOtherQuorum, fmt.Sprintf(
				"%d of %d voters are here; the %d that are neither here nor proved dead may be a quorum: this side stops", here, len(voters), left))
		}
		lossy = lossy || 2*here < len(voters)
	}
	here, _ := c.countVoters(c.side.Voters)
	have := fmt.Sprintf("%d of %d voters are here and nobody else can have a quorum", here, len(c.side.Voters))
	switch {
	case lossy && !c.side.AllowLossy:
		return c.judgement(Stop, RuleLossy, have+", but fewer than half may miss the last commits, and claiming with loss is not allowed: this side stops")
	case !c.side.Store && lossy:
		return c.judgement(Stop, RuleNoStore, have+", but fewer than half cannot go on without a store to claim a generation in: this side stops")
	case !c.side.Store:
		return c.withoutStore(have)
	}
	j := c.judgement(MayForce, RuleHalf, have+": it goes on if it wins the next generation")
	if lossy {
		j.Lossy, j.Reason.Rule = true, RuleLossy
		j.Reason.Words += ", which may lose the last commits"
	}
	if !c.contested() {
		return j
	}
	switch j.After = p.after; {
	case j.After > 0:
		j.Reason.Words += fmt.Sprintf(", and waits %v because %s", j.After, p.why)
	case p.why != "":
		j.Reason.Words += ", and comes first because " + p.why
	}
	return j
}

// contested reports whether voters elsewhere may be alive and claim too.
func (c *count) contested() bool {
	for _, voters := range c.registered() {
		if _, left := c.countVoters(voters); left > 0 {
			return true
		}
	}
	return false
}

// withoutStore judges a lossless claim that no row can arbitrate: the side must
// be the one that is preferred, and the others must be proved dead.
func (c *count) withoutStore(have string) Judgement {
	if c.contested() {
		return c.judgement(Stop, RuleNoStore, have+", but without a store to claim a generation in, voters elsewhere must be proved dead: this side stops")
	}
	if low, ok := c.lowestVoter(""); !ok || !c.isHere[low.ID] {
		return c.judgement(Stop, RuleNoStore, have+", but without a store to claim a generation in, only the side with the lowest address goes on: this side stops")
	}
	return c.judgement(MayForce, RuleHalf, have+", all others are proved dead, and the lowest address is here: it goes on without a store")
}

// byVotes prefers the side with more voters, and of two halves the one with the
// lowest address among those that carry the strategy's role. The others wait for
// after.
func (c *count) byVotes(after time.Duration) preference {
	here, _ := c.countVoters(c.side.Voters)
	if n := len(c.side.Voters); 2*here != n {
		if 2*here > n {
			after = 0
		}
		return preference{after: after, why: fmt.Sprintf("%d of %d voters are here", here, n)}
	}
	low, ok := c.lowestVoter(c.scene.role)
	switch {
	case !ok:
		return preference{}
	case c.isHere[low.ID]:
		return preference{why: "the lowest address among the voters is here: " + low.Addr}
	}
	return preference{after: after, why: "the lowest address among the voters is elsewhere: " + low.Addr}
}

// registered returns the voter sets that could decide: two while a change is
// pending.
func (c *count) registered() [][]member.NodeID {
	if len(c.side.NextVoters) == 0 {
		return [][]member.NodeID{c.side.Voters}
	}
	return [][]member.NodeID{c.side.Voters, c.side.NextVoters}
}

// countVoters returns how many of voters are here, and how many are neither
// here nor dead.
func (c *count) countVoters(voters []member.NodeID) (here, left int) {
	for _, id := range voters {
		switch {
		case c.isHere[id]:
			here++
		case !c.isDead[id]:
			left++
		}
	}
	return here, left
}

// lowestVoter returns the voter with the lowest address among those that carry
// role; a voter that is no member any more has none.
func (c *count) lowestVoter(role string) (Member, bool) {
	for _, m := range c.scene.byAddress {
		if m.HasRole(role) && slices.Contains(c.side.Voters, m.ID) {
			return m, true
		}
	}
	return Member{}, false
}
