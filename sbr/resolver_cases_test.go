package sbr

import (
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

type resolverCase struct {
	ID          string       `json:"id"`
	Strategy    caseStrategy `json:"strategy"`
	Self        string       `json:"self"`
	StableMs    int64        `json:"stable_after_ms"`
	UnstableMs  int64        `json:"down_all_when_unstable_ms"`
	AutoTickMs  int64        `json:"auto_tick_ms"`
	LeaseResult bool         `json:"lease_acquire_result"`
	Steps       []struct {
		Ev        string      `json:"ev"`
		M         string      `json:"m"`
		Status    string      `json:"status"`
		DC        string      `json:"dc"`
		Records   [][2]string `json:"records"`
		Seen      []string    `json:"seen"`
		AdvanceMs int64       `json:"advance_ms"`
		Expect    *[]string   `json:"expect_down"`
		WithinMs  int64       `json:"within_ms"`
	} `json:"steps"`
}

func orOff(ms int64) time.Duration {
	if ms == 0 {
		return Off
	}
	return time.Duration(ms) * time.Millisecond
}

func TestTheResolverActsAsTheRowsSay(t *testing.T) {
	var file struct {
		Fixture fixture        `json:"fixture_members"`
		Rows    []resolverCase `json:"resolver_cases"`
	}
	readCases(t, "sbr.json", &file)
	someRows(t, "resolver_cases", len(file.Rows))
	for _, c := range file.Rows {
		t.Run(c.ID, func(t *testing.T) {
			r := newRig(t, Settings{Strategy: c.Strategy.strategy(t), StableAfter: orOff(c.StableMs), DownAllWhenUnstable: orOff(c.UnstableMs)}, c)
			for i, s := range c.Steps {
				if s.Ev != "" {
					r.step(rowEvent(t, file.Fixture, c, i))
				}
				r.advance(time.Duration(s.AdvanceMs) * time.Millisecond)
				if s.Expect != nil {
					r.expect(i, *s.Expect, time.Duration(s.WithinMs)*time.Millisecond)
				}
			}
		})
	}
}

func rowEvent(t *testing.T, f fixture, c resolverCase, i int) Event {
	t.Helper()
	s := c.Steps[i]
	byEvent := map[string]string{
		"MemberJoined": "Joining", "MemberWeaklyUp": "WeaklyUp", "MemberUp": "Up", "MemberLeft": "Leaving",
		"MemberExited": "Exiting", "MemberDowned": "Down", "MemberRemoved": "Removed",
		"MemberPreparingForShutdown": "Up", "MemberReadyForShutdown": "Up",
	}
	st := byEvent[s.Ev]
	if s.Status != "" {
		st = s.Status
	}
	m := caseMember{M: s.M, Status: st, DC: s.DC}
	switch s.Ev {
	case "MemberRemoved":
		return MemberRemoved{ID: member.NodeID(s.M)}
	case "UnreachableMember":
		return BecameUnreachable{Member: f.member(t, m)}
	case "ReachableMember":
		return BecameReachable{Member: f.member(t, m)}
	case "ReachabilityChanged":
		return ObservationsChanged{Observations: records(s.Records)}
	case "SeenChanged":
		return SeenChanged{Seen: ids(s.Seen)}
	case "LeaderChanged":
		return LeaderChanged{ID: member.NodeID(s.M)}
	case "UnreachableDataCenter":
		return CenterUnreachable{Center: s.DC}
	case "ThisActorSystemQuarantined", "ThisActorSystemQuarantinedEvent", "Quarantined":
		return ShutOut{By: member.NodeID(s.M)}
	case "Tick":
		return Tick{}
	}
	if _, ok := byEvent[s.Ev]; ok {
		return MemberChanged{Member: f.member(t, m)}
	}
	t.Fatalf("step %d: event %q is unknown", i, s.Ev)
	return nil
}

// rig runs a resolver on virtual time, with a lease that answers at once.
type rig struct {
	t        *testing.T
	r        *Resolver
	now      time.Time
	every    time.Duration // between automatic ticks, 0 for none
	nextTick time.Time
	waits    []time.Time
	granted  bool
	downed   []member.NodeID
	asked    int
	leading  bool
}

func newRig(t *testing.T, s Settings, c resolverCase) *rig {
	t.Helper()
	res, err := NewResolver(s, member.NodeID(c.Self), "")
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{t: t, r: res, now: time.Unix(1000, 0), every: time.Duration(c.AutoTickMs) * time.Millisecond, granted: c.LeaseResult}
	g.nextTick = g.now.Add(g.every)
	return g
}

func (g *rig) step(e Event) {
	g.t.Helper()
	if l, ok := e.(LeaderChanged); ok {
		g.leading = l.ID == g.r.self
	}
	for _, f := range g.r.Step(g.now, e) {
		switch f := f.(type) {
		case Down:
			if !g.leading && f.Decision.Reason.Rule != RuleUnstable && f.Decision.Action != DownSelf {
				g.t.Errorf("a node that does not lead downed %v: %v", f.Decision.Down, f.Decision)
			}
			for _, id := range f.Decision.Down {
				if !slices.Contains(g.downed, id) {
					g.downed = append(g.downed, id)
				}
			}
		case AcquireLease:
			g.asked++
			g.step(LeaseResult{Attempt: f.Attempt, Held: g.granted})
		case ReleaseLease:
			g.step(ReleaseResult{Released: true})
		case Wait:
			g.waits = append(g.waits, f.Until)
		case Notice:
		}
	}
}

// advance moves the clock and ticks when due.
func (g *rig) advance(d time.Duration) {
	g.t.Helper()
	end := g.now.Add(d)
	for {
		next := end
		if g.every > 0 && !g.nextTick.After(next) {
			next = g.nextTick
		}
		for _, w := range g.waits {
			if !w.After(next) {
				next = w
			}
		}
		due := len(g.waits)
		g.waits = slices.DeleteFunc(g.waits, func(w time.Time) bool { return !w.After(next) })
		tick := due != len(g.waits)
		if g.every > 0 && !g.nextTick.After(next) {
			g.nextTick = g.nextTick.Add(g.every)
			tick = true
		}
		if next.After(g.now) {
			g.now = next
		}
		if !tick {
			return
		}
		g.step(Tick{})
	}
}

func (g *rig) expect(step int, want []string, within time.Duration) {
	g.t.Helper()
	for end := g.now.Add(within); len(want) > 0 && len(g.downed) < len(want) && g.now.Before(end); {
		g.advance(min(10*time.Millisecond, end.Sub(g.now)))
	}
	// a lease may be asked for after a delay that the row does not mention
	for len(want) > 0 && len(g.downed) == 0 && len(g.waits) > 0 {
		g.advance(slices.MinFunc(g.waits, time.Time.Compare).Sub(g.now))
	}
	if !slices.Equal(sorted(g.downed), sortedNames(want)) {
		g.t.Errorf("step %d: down got %v, want %v", step, sorted(g.downed), want)
	}
	g.downed = nil
}
