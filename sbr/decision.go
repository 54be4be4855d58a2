package sbr

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Action says which members go.
type Action uint8

// Actions. The numbers may be shown and stored: add only at the end.
const (
	// DownNobody: there is nobody to decide about.
	DownNobody Action = iota
	// DownUnreachable keeps this side.
	DownUnreachable
	// DownReachable gives this side up.
	DownReachable
	// DownEverybody gives all sides up.
	DownEverybody
	// DownIndirect keeps the members that everybody on this side
	// reaches, and downs the ends of broken links besides what the strategy
	// downs anyway.
	DownIndirect
	// ReverseDownIndirect is the opposite, for a side that was denied
	// the lease.
	ReverseDownIndirect
	// DownSelf gives up one node that another has shut out.
	DownSelf
)

// String returns the action in lower-case words joined by hyphens.
func (a Action) String() string {
	switch a {
	case DownNobody:
		return "down-nobody"
	case DownUnreachable:
		return "down-unreachable"
	case DownReachable:
		return "down-reachable"
	case DownEverybody:
		return "down-all"
	case DownIndirect:
		return "down-indirectly-connected"
	case ReverseDownIndirect:
		return "reverse-down-indirectly-connected"
	case DownSelf:
		return "down-self"
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Decision is what a side does about members it cannot reach.
type Decision struct {
	Action Action
	// Lease says that the decision holds only once the lease is acquired, and
	// AcquireAfter how long to wait before trying. See [Denied] for what holds
	// otherwise.
	Lease        bool
	AcquireAfter time.Duration
	// Down lists whom to down, in address order, and the deciding node last.
	Down []member.NodeID
	// Denied is whom to down, and why, when the lease is not acquired: nil for a
	// decision that needs none.
	Denied *Decision
	Reason Reason
}

// Downs reports whether the decision downs id.
func (d Decision) Downs(id member.NodeID) bool { return slices.Contains(d.Down, id) }

// String returns the decision and its reason in one line.
func (d Decision) String() string {
	s := d.Action.String()
	if d.Lease {
		s += " with the lease"
		if d.AcquireAfter > 0 {
			s += ", tried after " + d.AcquireAfter.String()
		}
	}
	return s + ": " + d.Reason.String()
}

// Reason says why a decision was taken, for people and logs.
type Reason struct {
	// Strategy with its parameters, such as "static-quorum(quorum-size=3)".
	Strategy string
	// Rule that led to the action, one of the constants below.
	Rule Rule
	// Here and There are the addresses of the counted members of this side and
	// of all others, Aside those of the members that are not counted because of
	// their status or roles.
	Here, There, Aside []string
	// Overruled is the action that a check replaced, DownNobody when none did.
	Overruled Action
	// Words put the rule into a sentence.
	Words string
}

// Rule names what led to a decision.
type Rule string

// Rules of the strategies.
const (
	RuleReachable       Rule = "everybody-reachable"
	RuleMajority        Rule = "majority"
	RuleMinority        Rule = "minority"
	RuleTie             Rule = "tie-lowest-address"
	RuleNoRole          Rule = "no-member-with-role"
	RuleInFlight        Rule = "in-flight-changes"
	RuleQuorum          Rule = "quorum"
	RuleNoQuorum        Rule = "no-quorum"
	RuleTooMany         Rule = "too-many-members"
	RuleOldest          Rule = "oldest-here"
	RuleOldestElsewhere Rule = "oldest-elsewhere"
	RuleOldestAlone     Rule = "oldest-alone"
	RuleDownAll         Rule = "down-all"
	RuleIndirect        Rule = "indirectly-connected"
	RuleDoubleIndirect  Rule = "double-indirectly-connected"
	RuleLease           Rule = "lease"
	RuleLeaseDenied     Rule = "lease-denied"
	RuleUnstable        Rule = "unstable"
	RuleShutOut         Rule = "shut-out"
)

// shown is how many addresses a sentence lists before it counts the rest.
const shown = 12

// String returns one line that names both sides, the rule and the strategy.
func (r Reason) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: here %s, there %s", r.Strategy, listed(r.Here), listed(r.There))
	if len(r.Aside) > 0 {
		fmt.Fprintf(&b, ", not counted %s", listed(r.Aside))
	}
	fmt.Fprintf(&b, "; %s", r.Words)
	return b.String()
}

func listed(addresses []string) string {
	if len(addresses) == 0 {
		return "nobody"
	}
	if n := len(addresses); n > shown {
		return fmt.Sprintf("%d (%s and %d more)", n, strings.Join(addresses[:shown], " "), n-shown)
	}
	return fmt.Sprintf("%d (%s)", len(addresses), strings.Join(addresses, " "))
}

// proposal is a decision before anybody has asked whom it means.
type proposal struct {
	action    Action
	overruled Action
	lease     bool
	delay     time.Duration
	rule      Rule
	words     string
}

// Decide returns what the side that holds view v does under strategy s. It
// decides as if members had been unreachable for long enough; waiting is the
// job of [Resolver]. A nil strategy is KeepMajority.
func Decide(s Strategy, v View) Decision {
	s = orDefault(s)
	sc := newScene(v, s)
	if len(sc.unreachable) == 0 {
		return sc.decision(s, proposal{action: DownNobody, rule: RuleReachable, words: "everybody is reachable"})
	}
	p := s.propose(sc)
	d := sc.decision(s, p)
	if !p.lease {
		return d
	}
	r := proposal{action: DownReachable, rule: RuleLeaseDenied, words: "the lease was not acquired, so another side may hold it: this side goes"}
	if p.action == DownIndirect {
		r.action = ReverseDownIndirect
		r.words += ", and the ends of broken links"
	}
	denied := sc.decision(s, r)
	d.Denied = &denied
	return d
}

func (sc *scene) decision(s Strategy, p proposal) Decision {
	down, why, err := sc.nodesToDown(s, p.action)
	if err != nil {
		p.overruled, p.action, p.rule, p.words = p.action, DownEverybody, RuleDoubleIndirect, err.Error()
		p.lease = false
		down, why, _ = sc.nodesToDown(s, DownEverybody)
	}
	if why != "" {
		p.words += "; " + why
	}
	d := Decision{Action: p.action, Lease: p.lease, AcquireAfter: p.delay, Reason: sc.reason(s, p)}
	for _, m := range sc.byAddress {
		if down[m.ID] && m.ID != sc.self {
			d.Down = append(d.Down, m.ID)
		}
	}
	if down[sc.self] {
		d.Down = append(d.Down, sc.self)
	}
	return d
}

func (sc *scene) reason(s Strategy, p proposal) Reason {
	r := Reason{Strategy: Describe(s), Rule: p.rule, Overruled: p.overruled, Words: p.words}
	for _, m := range sc.byAddress {
		switch {
		case !(counting{}).includes(m) || !m.HasRole(sc.role):
			r.Aside = append(r.Aside, m.Addr)
		case sc.unreachable[m.ID]:
			r.There = append(r.There, m.Addr)
		default:
			r.Here = append(r.Here, m.Addr)
		}
	}
	return r
}

var errDoubleIndirect = errors.New("some links are broken, and without them others are: nobody can tell the sides apart, so all go")

// nodesToDown returns whom an action means, and what is to be said about that.
func (sc *scene) nodesToDown(s Strategy, a Action) (down map[member.NodeID]bool, why string, err error) {
	var goes func(id member.NodeID) bool
	switch a {
	case DownNobody:
		goes = func(member.NodeID) bool { return false }
	case DownUnreachable:
		goes = func(id member.NodeID) bool { return sc.unreachable[id] }
	case DownReachable:
		goes = func(id member.NodeID) bool { return !sc.unreachable[id] }
	case DownEverybody:
		goes = func(member.NodeID) bool { return true }
	case DownSelf:
		goes = func(id member.NodeID) bool { return id == sc.self }
	case ReverseDownIndirect:
		ic := sc.indirect()
		goes = func(id member.NodeID) bool { return ic.any(id) || !sc.unreachable[id] }
	case DownIndirect:
		ic := sc.indirect()
		more, words, err := sc.besides(s, ic)
		if err != nil {
			return nil, "", err
		}
		why = words
		goes = func(id member.NodeID) bool { return ic.any(id) || more[id] }
	}
	down = make(map[member.NodeID]bool)
	for _, m := range sc.downable() {
		if goes(m.ID) {
			down[m.ID] = true
		}
	}
	return down, why, nil
}
