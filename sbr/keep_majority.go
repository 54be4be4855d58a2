package sbr

import (
	"fmt"
)

// KeepMajority keeps the side with more counted members; of two equal sides
// the one that holds the lowest address. It suits clusters whose size varies.
// A side that finds it would survive counts again, against itself: its Leaving
// members may have gone and the other side's Joining ones come up meanwhile. If
// that changes the outcome, both sides might survive, so all go.
//
// In a cluster on raft it counts voters instead, see [Judge].
type KeepMajority struct {
	// Role restricts counting to members that carry it, "" counts all.
	Role string
}

// Name implements [Strategy].
func (KeepMajority) Name() string { return "keep-majority" }

// Validate implements [Strategy]; every value is fine.
func (KeepMajority) Validate() error { return nil }

// Parameters implements [Strategy].
func (s KeepMajority) Parameters() map[string]string { return map[string]string{"role": s.Role} }

func (s KeepMajority) counts() (role string, order func(a, b Member) int) {
	return s.Role, compareAddress
}

func (s KeepMajority) propose(sc *scene) proposal {
	if sc.indirect().found() {
		return indirectProposal()
	}
	members := sc.counted(counting{})
	if len(members) == 0 {
		return nobodyCounts(s.Role)
	}
	here, there := sc.split(counting{})
	p := majority(sc, len(here), len(there), members[0])
	if p.action != DownUnreachable {
		return p
	}
	staying := sc.counted(counting{certainlyStaying: true})
	if len(staying) == 0 {
		return inFlight(p, "every member here may have left")
	}
	few, _ := sc.split(counting{certainlyStaying: true})
	_, many := sc.split(counting{possiblyUp: true})
	if majority(sc, len(few), len(many), staying[0]).action != DownUnreachable {
		return inFlight(p, fmt.Sprintf("without those leaving here and with those joining there it is %d against %d", len(few), len(many)))
	}
	return p
}

func majority(sc *scene, here, there int, lowest Member) proposal {
	switch {
	case here > there:
		return proposal{action: DownUnreachable, rule: RuleMajority, words: fmt.Sprintf("%d of %d is the majority: the unreachable go", here, here+there)}
	case here < there:
		return proposal{action: DownReachable, rule: RuleMinority, words: fmt.Sprintf("%d of %d is the minority: this side goes", here, here+there)}
	case sc.unreachable[lowest.ID]:
		return proposal{action: DownReachable, rule: RuleTie, words: fmt.Sprintf("%d against %d is a tie, and the lowest address %s is there: this side goes", here, there, lowest.Addr)}
	}
	return proposal{action: DownUnreachable, rule: RuleTie, words: fmt.Sprintf("%d against %d is a tie, and the lowest address %s is here: the unreachable go", here, there, lowest.Addr)}
}

// inFlight replaces p, which one membership change that the other side has
// seen and this one has not would have turned round.
func inFlight(p proposal, why string) proposal {
	return proposal{
		action: DownEverybody, overruled: p.action, rule: RuleInFlight,
		words: p.words + "; but " + why + ", and the other side may count so: all go",
	}
}

func indirectProposal() proposal {
	return proposal{action: DownIndirect, rule: RuleIndirect, words: "some members are cut off from some but not from all: the ends of the broken links go, and of the others those that the strategy gives up"}
}

func nobodyCounts(role string) proposal {
	words := "no member is counted: all go"
	if role != "" {
		words = fmt.Sprintf("no counted member carries the role %q: all go", role)
	}
	return proposal{action: DownEverybody, rule: RuleNoRole, words: words}
}

func (KeepMajority) onVoters(c *count) preference { return c.byVotes(ForceDelay) }
