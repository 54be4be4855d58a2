package sbr

import (
	"fmt"
	"strconv"
)

// StaticQuorum keeps a side with at least QuorumSize counted members. It suits
// clusters of a fixed size: with n members and n <= 2 x QuorumSize - 1 at most
// one side can have a quorum. A cluster that has grown beyond that cannot tell,
// so all sides go.
type StaticQuorum struct {
	// QuorumSize is the least number of counted members of a side that goes on,
	// at least 1. It has no default.
	QuorumSize int
	// Role restricts counting to members that carry it, "" counts all.
	Role string
}

// Name implements [Strategy].
func (StaticQuorum) Name() string { return "static-quorum" }

// Validate implements [Strategy].
func (s StaticQuorum) Validate() error {
	if s.QuorumSize < 1 {
		return fmt.Errorf("static-quorum: quorum-size is %d: set it to more than half of the members, at least 1", s.QuorumSize)
	}
	return nil
}

// Parameters implements [Strategy].
func (s StaticQuorum) Parameters() map[string]string {
	return map[string]string{"quorum-size": strconv.Itoa(s.QuorumSize), "role": s.Role}
}

// TooMany reports whether two sides of n counted members could both have a
// quorum.
func (s StaticQuorum) TooMany(n int) bool { return n > 2*s.QuorumSize-1 }

func (s StaticQuorum) counts() (role string, order func(a, b Member) int) {
	return s.Role, compareAddress
}

func (s StaticQuorum) propose(sc *scene) proposal {
	here, there := sc.split(counting{})
	n := len(here) + len(there)
	switch {
	case s.TooMany(n):
		return proposal{action: DownEverybody, rule: RuleTooMany, words: fmt.Sprintf(
			"%d members are more than the %d among which only one side can have %d: all go; raise quorum-size", n, 2*s.QuorumSize-1, s.QuorumSize)}
	case sc.indirect().found():
		return indirectProposal()
	case len(here) >= s.QuorumSize:
		return proposal{action: DownUnreachable, rule: RuleQuorum, words: fmt.Sprintf("%d are here and %d are enough: the unreachable go", len(here), s.QuorumSize)}
	}
	return proposal{action: DownReachable, rule: RuleNoQuorum, words: fmt.Sprintf("%d are here and %d are needed: this side goes", len(here), s.QuorumSize)}
}

// onVoters stops a side that is too small even if it holds the quorum of voters.
func (s StaticQuorum) onVoters(c *count) preference {
	if !s.TooMany(len(c.here)+len(c.there)) && len(c.here) >= s.QuorumSize {
		return c.byVotes(ForceDelay)
	}
	p := s.propose(c.scene)
	return preference{stop: true, rule: p.rule, words: p.words}
}
