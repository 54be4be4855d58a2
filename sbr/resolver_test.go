package sbr

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// trial drives a resolver of node a in a cluster of a to e, led by a.
type trial struct {
	t   *testing.T
	r   *Resolver
	now time.Time
	m   []Member
}

func newTrial(t *testing.T, s Settings) *trial {
	t.Helper()
	r, err := NewResolver(s, "a", "")
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{t: t, r: r, now: time.Unix(1000, 0), m: crew(5, allUp)}
	for _, m := range tr.m {
		tr.step(MemberChanged{Member: m})
	}
	tr.step(LeaderChanged{ID: "a"})
	return tr
}

func (tr *trial) step(e Event) []Effect { return tr.r.Step(tr.now, e) }

func (tr *trial) after(d time.Duration) []Effect {
	tr.now = tr.now.Add(d)
	return tr.step(Tick{})
}

func (tr *trial) lose(names ...int) {
	for _, i := range names {
		tr.step(BecameUnreachable{Member: tr.m[i]})
	}
}

// one returns the effects of type E.
func pick[E Effect](effects []Effect) (out []E) {
	for _, f := range effects {
		if e, ok := f.(E); ok {
			out = append(out, e)
		}
	}
	return out
}

func (tr *trial) downed(effects []Effect, want string) Decision {
	tr.t.Helper()
	downs := pick[Down](effects)
	if len(downs) != 1 || names(downs[0].Decision.Down) != want {
		tr.t.Fatalf("effects got %+v, want one that downs [%s]", effects, want)
	}
	return downs[0].Decision
}

func (tr *trial) nothing(effects []Effect) {
	tr.t.Helper()
	if len(effects) > 0 {
		tr.t.Fatalf("effects got %+v, want none", effects)
	}
}

func TestADecisionComesAfterStableAfterAndIsRepeated(t *testing.T) {
	tr := newTrial(t, Settings{StableAfter: 5 * time.Second})
	tr.lose(3)
	tr.nothing(tr.after(4999 * time.Millisecond))
	tr.downed(tr.after(time.Millisecond), "d")
	tr.nothing(tr.after(4 * time.Second))
	tr.downed(tr.after(time.Second), "d") // it is still there, so nobody has heard yet
	tr.step(MemberChanged{Member: with(tr.m[3], member.Down)})
	tr.nothing(tr.after(10 * time.Second))
	tr.step(MemberRemoved{ID: "d"})
	tr.nothing(tr.after(10 * time.Second))
}

func with(m Member, s member.Status) Member { m.Status = s; return m }

func TestNoticesTellWhatTheResolverWaitsFor(t *testing.T) {
	tr := newTrial(t, Settings{Strategy: StaticQuorum{QuorumSize: 3}, StableAfter: 5 * time.Second})
	kind := func(effects []Effect) []NoticeKind {
		var out []NoticeKind
		for _, n := range pick[Notice](effects) {
			if n.Text == "" {
				t.Errorf("notice %v has no text", n.Kind)
			}
			out = append(out, n.Kind)
		}
		return out
	}
	for _, step := range []struct {
		e    Event
		want []NoticeKind
	}{
		{BecameUnreachable{Member: tr.m[1]}, []NoticeKind{Waiting}},
		{BecameUnreachable{Member: tr.m[2]}, []NoticeKind{Changed}},
		{BecameReachable{Member: tr.m[2]}, []NoticeKind{Changed}},
		{BecameReachable{Member: tr.m[1]}, []NoticeKind{Healed}},
		{BecameReachable{Member: tr.m[1]}, nil},
		{BecameUnreachable{Member: tr.m[0]}, nil}, // itself
		{CenterUnreachable{Center: "west"}, []NoticeKind{OtherCenter}},
		{MemberChanged{Member: crew(6, allUp)[5]}, []NoticeKind{TooManyMembers}},
	} {
		if got := kind(tr.step(step.e)); !slices.Equal(got, step.want) {
			t.Errorf("%#v: notices got %v, want %v", step.e, got, step.want)
		}
	}
}

func TestANodeThatIsShutOutGoesAtOnce(t *testing.T) {
	tr := newTrial(t, Settings{})
	d := tr.downed(tr.step(ShutOut{By: "b"}), "a")
	if d.Action != DownSelf || !strings.Contains(d.Reason.Words, "b:25520") {
		t.Errorf("decision got %v, want down-self that names b", d)
	}
}

func TestANodeDecidesNothingBeforeItIsUpOrAfterItIsRemoved(t *testing.T) {
	r, err := NewResolver(Settings{StableAfter: Off, DownAllWhenUnstable: Off}, "a", "")
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{t: t, r: r, now: time.Unix(1, 0), m: crew(3, allUp)}
	tr.step(MemberChanged{Member: with(tr.m[0], member.Joining)})
	tr.step(MemberChanged{Member: tr.m[1]})
	tr.step(MemberChanged{Member: tr.m[2]})
	tr.step(LeaderChanged{ID: "a"})
	tr.lose(2)
	tr.nothing(tr.after(time.Minute))
	tr.step(MemberChanged{Member: tr.m[0]})
	tr.downed(tr.after(time.Second), "c")
	tr.step(MemberRemoved{ID: "a"})
	tr.nothing(tr.after(time.Minute))
}

func TestTheOldestActsWhenSettingsSaySo(t *testing.T) {
	tr := newTrial(t, Settings{StableAfter: time.Second, Responsible: OldestActs, DownAllWhenUnstable: Off}) // e is the oldest
	tr.lose(1)
	tr.nothing(tr.after(time.Minute))
	tr = newTrial(t, Settings{StableAfter: time.Second, Responsible: OldestActs, DownAllWhenUnstable: Off})
	tr.step(LeaderChanged{ID: "b"})
	for _, i := range []int{4, 3, 2, 1} {
		tr.step(MemberRemoved{ID: tr.m[i].ID})
	}
	tr.step(MemberChanged{Member: crew(6, allUp)[1]})
	tr.lose(1)
	tr.downed(tr.after(time.Second), "b")
}

func TestAMemberThatIsOnlyJoiningCausesNoUnrest(t *testing.T) {
	tr := newTrial(t, Settings{StableAfter: 5 * time.Second, DownAllWhenUnstable: time.Second})
	f := with(crew(6, allUp)[5], member.Joining)
	tr.step(MemberChanged{Member: f})
	for i := range 20 {
		if i%2 == 0 {
			tr.step(BecameUnreachable{Member: f})
		} else {
			tr.step(BecameReachable{Member: f})
		}
		tr.nothing(pick2(tr.after(time.Second)))
	}
}

// pick2 leaves notices out.
func pick2(effects []Effect) []Effect {
	return slices.DeleteFunc(effects, func(e Effect) bool { _, ok := e.(Notice); return ok })
}

func TestAStatusThatComesWithOldNewsIsKept(t *testing.T) {
	tr := newTrial(t, Settings{StableAfter: 5 * time.Second})
	tr.lose(3)
	tr.step(BecameUnreachable{Member: with(tr.m[3], member.Leaving)})
	tr.step(BecameUnreachable{Member: tr.m[3]}) // late: a member never goes back
	if m := tr.r.View().Members[3]; m.Status != member.Leaving {
		t.Errorf("status got %v, want leaving", m.Status)
	}
}

func leaseTrial(t *testing.T) *trial {
	t.Helper()
	return newTrial(t, Settings{StableAfter: 5 * time.Second, Strategy: LeaseMajority{MinorityDelay: 2 * time.Second, ReleaseAfter: 10 * time.Second, AcquireTimeout: 3 * time.Second}})
}

func TestTheMinorityAsksForTheLeaseLater(t *testing.T) {
	tr := leaseTrial(t)
	tr.lose(2, 3, 4)
	f := tr.after(5 * time.Second)
	if len(pick[AcquireLease](f)) != 0 || len(pick[Wait](f)) != 1 {
		t.Fatalf("effects got %+v, want to wait only", f)
	}
	tr.nothing(tr.after(1900 * time.Millisecond))
	ask := pick[AcquireLease](tr.after(100 * time.Millisecond))
	if len(ask) != 1 {
		t.Fatalf("asked %d times, want once", len(ask))
	}
	tr.nothing(tr.after(time.Second))
	tr.downed(tr.step(LeaseResult{Attempt: ask[0].Attempt, Held: true}), "c d e")
}

func TestALeaseThatIsNotAnsweredCountsAsDenied(t *testing.T) {
	tr := leaseTrial(t)
	tr.lose(4)
	ask := pick[AcquireLease](tr.after(5 * time.Second))
	tr.nothing(tr.after(2 * time.Second))
	d := tr.downed(tr.after(time.Second), "b c d a")
	if d.Reason.Rule != RuleLeaseDenied || !strings.Contains(d.Reason.Words, "within 3s") {
		t.Errorf("reason got %v, want the lease denied for lack of an answer", d.Reason)
	}
	if f := tr.step(LeaseResult{Attempt: ask[0].Attempt, Held: true}); len(pick[ReleaseLease](f)) != 1 || len(f) != 1 {
		t.Errorf("effects of a late answer got %+v, want the lease given back", f)
	}
}

func TestTheLeaseIsKeptUntilTheDownedAreGone(t *testing.T) {
	tr := leaseTrial(t)
	tr.lose(3, 4)
	ask := pick[AcquireLease](tr.after(5 * time.Second))
	tr.downed(tr.step(LeaseResult{Attempt: ask[0].Attempt, Held: true}), "d e")
	tr.step(MemberRemoved{ID: "d"})
	if f := tr.after(time.Second); len(pick[ReleaseLease](f)) > 0 {
		t.Fatal("the lease was given back before all downed members were removed")
	}
	tr.step(MemberRemoved{ID: "e"})
	tr.nothing(tr.after(9 * time.Second))
	if f := tr.after(time.Second); len(pick[ReleaseLease](f)) != 1 {
		t.Fatalf("effects got %+v, want the lease given back", f)
	}
	if f := tr.after(time.Second); len(pick[ReleaseLease](f)) != 1 {
		t.Fatalf("effects got %+v, want another try: nobody confirmed the first", f)
	}
	tr.step(ReleaseResult{Released: true})
	tr.nothing(tr.after(time.Minute))
}

func TestALeaseThatIsHeldIsUsedAtOnce(t *testing.T) {
	tr := leaseTrial(t)
	tr.lose(4)
	ask := pick[AcquireLease](tr.after(5 * time.Second))
	tr.downed(tr.step(LeaseResult{Attempt: ask[0].Attempt, Held: true}), "e")
	tr.lose(3)
	f := tr.after(5 * time.Second)
	tr.downed(f, "d e")
	if len(pick[AcquireLease](f)) > 0 {
		t.Error("asked again for a lease that is held")
	}
	tr.step(LeaseLost{})
	if f := tr.after(5 * time.Second); len(pick[AcquireLease](f)) != 1 || len(pick[Down](f)) != 0 {
		t.Errorf("effects after the lease was lost got %+v, want to ask again", f)
	}
}

func TestWhatComesWhileALeaseIsAwaitedCountsAfterwards(t *testing.T) {
	tr := leaseTrial(t)
	tr.lose(4)
	ask := pick[AcquireLease](tr.after(5 * time.Second))
	tr.lose(3)
	// the other side decided at the same time about the same view
	tr.downed(tr.step(LeaseResult{Attempt: ask[0].Attempt, Held: true}), "e")
	tr.nothing(tr.after(4 * time.Second))
	tr.downed(tr.after(time.Second), "d e")
}

func TestANodeThatIsRemovedWhileItWaitsGivesALateLeaseBack(t *testing.T) {
	tr := leaseTrial(t)
	tr.lose(4)
	ask := pick[AcquireLease](tr.after(5 * time.Second))
	tr.step(MemberRemoved{ID: "a"})
	f := tr.step(LeaseResult{Attempt: ask[0].Attempt, Held: true})
	if len(f) != 1 || len(pick[ReleaseLease](f)) != 1 {
		t.Errorf("effects got %+v, want the lease given back", f)
	}
}

func TestUnrestBeginsAnewAfterALease(t *testing.T) {
	tr := leaseTrial(t) // down all when unstable for 5 s + 4 s
	tr.lose(4)
	ask := pick[AcquireLease](tr.after(5 * time.Second))
	tr.lose(3)
	tr.now = tr.now.Add(2 * time.Second)
	tr.step(LeaseResult{Attempt: ask[0].Attempt, Held: true})
	tr.step(LeaderChanged{ID: "b"}) // nobody decides any more
	tr.nothing(tr.after(9 * time.Second))
	if d := tr.downed(tr.after(time.Second), "b c d e a"); d.Reason.Rule != RuleUnstable {
		t.Errorf("decision got %v, want all to go for what came while the lease was awaited", d)
	}
}

func TestAnAnswerToAnEarlierAttemptIsNotActedOn(t *testing.T) {
	tr := leaseTrial(t)
	tr.lose(4)
	first := pick[AcquireLease](tr.after(5 * time.Second))[0]
	tr.after(3 * time.Second) // late: denied
	second := pick[AcquireLease](tr.after(5 * time.Second))[0]
	if second.Attempt == first.Attempt {
		t.Fatalf("attempts got %d twice, want them told apart", first.Attempt)
	}
	f := tr.step(LeaseResult{Attempt: first.Attempt, Held: true})
	if len(pick[Down](f)) != 0 || len(pick[ReleaseLease](f)) != 1 {
		t.Errorf("effects got %+v, want the lease of the earlier attempt given back", f)
	}
	tr.downed(tr.step(LeaseResult{Attempt: second.Attempt, Held: true}), "e")
}

func TestARemovalOfSomebodyElseDoesNotEndTheLease(t *testing.T) {
	tr := leaseTrial(t)
	tr.lose(4)
	ask := pick[AcquireLease](tr.after(5 * time.Second))
	tr.step(LeaseResult{Attempt: ask[0].Attempt, Held: true})
	tr.step(MemberRemoved{ID: "e"})
	tr.after(9 * time.Second)
	tr.step(MemberRemoved{ID: "b"}) // left in peace
	if f := tr.after(time.Second); len(pick[ReleaseLease](f)) != 1 {
		t.Errorf("effects got %+v, want the lease given back 10 s after the downed one was removed", f)
	}
}

func TestOtherCentersCauseNoUnrest(t *testing.T) {
	tr := newTrial(t, Settings{StableAfter: 5 * time.Second})
	f := crew(6, allUp)[5]
	f.Center = "west"
	tr.step(MemberChanged{Member: f})
	tr.step(BecameUnreachable{Member: f})
	tr.nothing(tr.after(time.Minute))
	if n := len(tr.r.View().Members); n != 5 {
		t.Errorf("members got %d, want those of the own center: 5", n)
	}
}

func TestWhoIsDownAccusesNobody(t *testing.T) {
	m := crew(3, allUp)
	m[0].Status = member.Down
	got := UnreachableOf(m, records([][2]string{{"a", "b"}, {"b", "a"}, {"c", "c"}, {"c", "z"}}))
	if !slices.Equal(got, []member.NodeID{"a"}) {
		t.Errorf("unreachable got %v, want a only", got)
	}
}
