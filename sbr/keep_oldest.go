package sbr

import (
	"fmt"
	"strconv"
)

// KeepOldest keeps the side that holds the oldest counted member. It suits
// clusters in which that member carries something costly to move. It is only as
// lasting as that member: when the oldest crashes, DownIfAlone saves the
// others, but with two members the younger one goes too.
type KeepOldest struct {
	// DownIfAlone gives the oldest member up when it is the only counted member
	// of its side and the other has two or more. A literal says what it says;
	// [Parse] defaults to true.
	DownIfAlone bool
	// Role restricts counting, and with it who is the oldest, to members that
	// carry it; "" counts all.
	Role string
	// Strict makes [Judge] stop even the side with the quorum when the oldest
	// is elsewhere. Without it age only breaks ties there. [Decide] does not
	// look at it.
	Strict bool
}

// Name implements [Strategy].
func (KeepOldest) Name() string { return "keep-oldest" }

// Validate implements [Strategy]; every value is fine.
func (KeepOldest) Validate() error { return nil }

// Parameters implements [Strategy].
func (s KeepOldest) Parameters() map[string]string {
	return map[string]string{"down-if-alone": strconv.FormatBool(s.DownIfAlone), "role": s.Role, "strict": strconv.FormatBool(s.Strict)}
}

func (s KeepOldest) counts() (role string, order func(a, b Member) int) { return s.Role, compareAge }

func (s KeepOldest) propose(sc *scene) proposal {
	if sc.indirect().found() {
		return indirectProposal()
	}
	members := sc.counted(counting{})
	if len(members) == 0 {
		return nobodyCounts(s.Role)
	}
	here, there := sc.split(counting{})
	p := s.oldest(sc, len(here), len(there), members[0])
	if p.action != DownUnreachable {
		return p
	}
	staying := sc.counted(counting{certainlyStaying: true})
	if len(staying) == 0 {
		return inFlight(p, "every member may have left")
	}
	here, there = sc.split(counting{certainlyStaying: true, possiblyUp: true})
	again := s.oldest(sc, len(here), len(there), staying[0])
	if again.action != DownUnreachable {
		return inFlight(p, fmt.Sprintf("without those leaving and with those joining, %s is the oldest and it is %d here against %d there", staying[0].Addr, len(here), len(there)))
	}
	return p
}

func (s KeepOldest) oldest(sc *scene, here, there int, oldest Member) proposal {
	switch isHere := !sc.unreachable[oldest.ID]; {
	case isHere && s.DownIfAlone && here == 1 && there > 1:
		return proposal{action: DownReachable, rule: RuleOldestAlone, words: fmt.Sprintf("the oldest member %s is alone here: this side goes", oldest.Addr)}
	case isHere:
		return proposal{action: DownUnreachable, rule: RuleOldest, words: fmt.Sprintf("the oldest member %s is here: the unreachable go", oldest.Addr)}
	case s.DownIfAlone && there == 1 && here > 1:
		return proposal{action: DownUnreachable, rule: RuleOldestAlone, words: fmt.Sprintf("the oldest member %s is alone there: it goes", oldest.Addr)}
	}
	return proposal{action: DownReachable, rule: RuleOldestElsewhere, words: fmt.Sprintf("the oldest member %s is there: this side goes", oldest.Addr)}
}

// onVoters breaks ties by age; strict, it also stops the quorum.
func (s KeepOldest) onVoters(c *count) preference {
	p := nobodyCounts(s.Role)
	if members := c.scene.counted(counting{}); len(members) > 0 {
		p = s.oldest(c.scene, len(c.here), len(c.there), members[0])
	}
	out := preference{why: "age breaks the tie: " + p.words}
	if p.action != DownUnreachable {
		out.after = ForceDelay
		out.stop, out.abdicate, out.rule, out.words = s.Strict, s.Strict, p.rule, p.words
	}
	return out
}
