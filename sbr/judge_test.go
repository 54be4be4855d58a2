package sbr_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sbr"
)

func ups(names string) []sbr.Member {
	var out []sbr.Member
	for i, r := range names {
		out = append(out, sbr.Member{Member: member.Member{
			Node: member.Node{ID: member.NodeID(r), Addr: string(r) + ":1"}, Status: member.Up, JoinedAt: uint64(100 - i),
		}})
	}
	return out
}

func nodes(names string) []member.NodeID {
	var out []member.NodeID
	for _, r := range names {
		out = append(out, member.NodeID(r))
	}
	return out
}

func TestASideMayWhatItsVotersAllow(t *testing.T) {
	const everybody = "abcde"
	for _, tt := range []struct {
		name                           string
		strategy                       sbr.Strategy
		voters, next, here, dead       string
		quorum, noStore, lossy, abdict bool
		want                           sbr.Verdict
		rule                           sbr.Rule
		after                          time.Duration
		loses                          bool
		down                           string
	}{
		{name: "all are here", here: everybody, voters: "abc", quorum: true, want: sbr.Continue, rule: sbr.RuleReachable},
		{name: "all are here, and even down-all lets them", strategy: sbr.DownAll{}, here: everybody, voters: "abc", quorum: true, want: sbr.Continue, rule: sbr.RuleReachable},
		{name: "the quorum is here", here: "ab", voters: "abc", quorum: true, want: sbr.Continue, rule: sbr.RuleVoterQuorum, down: "cde"},
		{name: "the quorum is elsewhere", here: "cde", voters: "abc", want: sbr.Stop, rule: sbr.RuleOtherQuorum},
		{name: "half, with the lowest address", here: "ab", voters: "abcd", want: sbr.MayForce, rule: sbr.RuleHalf},
		{name: "half, without the lowest address", here: "cde", voters: "abcd", want: sbr.MayForce, rule: sbr.RuleHalf, after: sbr.ForceDelay},
		{name: "half, the others proved dead", here: "cde", voters: "abcd", dead: "ab", want: sbr.MayForce, rule: sbr.RuleHalf},
		{name: "half, but a new set is registered in which it is not", here: "ab", voters: "abcd", next: "abcde", want: sbr.Stop, rule: sbr.RuleOtherQuorum},
		{name: "half of both sets", here: "abe", voters: "abcd", next: "abcde", want: sbr.MayForce, rule: sbr.RuleHalf},
		{name: "fewer than half, the others proved dead", here: "a", voters: "abc", dead: "bc", want: sbr.Stop, rule: sbr.RuleLossy},
		{name: "the same, and loss is allowed", here: "a", voters: "abc", dead: "bc", lossy: true, want: sbr.MayForce, rule: sbr.RuleLossy, loses: true},
		{name: "the same without a store", here: "a", voters: "abc", dead: "bc", lossy: true, noStore: true, want: sbr.Stop, rule: sbr.RuleNoStore},
		{name: "one of three proved dead leaves one that may live", here: "a", voters: "abc", dead: "b", lossy: true, want: sbr.MayForce, rule: sbr.RuleLossy, loses: true, after: sbr.ForceDelay},
		{name: "no store, not proved dead", here: "a", voters: "ab", noStore: true, want: sbr.Stop, rule: sbr.RuleNoStore},
		{name: "no store, proved dead, lowest", here: "a", voters: "ab", dead: "b", noStore: true, want: sbr.MayForce, rule: sbr.RuleHalf},
		{name: "no store, proved dead, not lowest", here: "b", voters: "ab", dead: "a", noStore: true, want: sbr.Stop, rule: sbr.RuleNoStore},
		{name: "no voters known", here: "ab", want: sbr.Stop, rule: sbr.RuleRegisteredNone},
		{name: "a certificate of a member that is here is void", here: "ab", voters: "abc", dead: "ab", quorum: true, want: sbr.Continue, rule: sbr.RuleVoterQuorum, down: "cde"},

		{name: "static-quorum: too few for it", strategy: sbr.StaticQuorum{QuorumSize: 3}, here: "ab", voters: "abc", quorum: true, want: sbr.Stop, rule: sbr.RuleNoQuorum},
		{name: "static-quorum: enough", strategy: sbr.StaticQuorum{QuorumSize: 3}, here: "abd", voters: "abc", quorum: true, want: sbr.Continue, rule: sbr.RuleVoterQuorum, down: "ce"},
		{name: "static-quorum: outgrown", strategy: sbr.StaticQuorum{QuorumSize: 2}, here: "abd", voters: "abc", quorum: true, want: sbr.Stop, rule: sbr.RuleTooMany},
		{name: "static-quorum: enough members, no quorum of voters", strategy: sbr.StaticQuorum{QuorumSize: 3}, here: "cde", voters: "abc", want: sbr.Stop, rule: sbr.RuleOtherQuorum},

		// e is the oldest
		{name: "keep-oldest: quorum without the oldest", strategy: sbr.KeepOldest{}, here: "ab", voters: "abe", quorum: true, want: sbr.Continue, rule: sbr.RuleVoterQuorum, down: "cde"},
		{name: "keep-oldest: age breaks the tie", strategy: sbr.KeepOldest{}, here: "ab", voters: "abde", want: sbr.MayForce, rule: sbr.RuleHalf, after: sbr.ForceDelay},
		{name: "keep-oldest: strict", strategy: sbr.KeepOldest{Strict: true}, here: "ab", voters: "abe", quorum: true, want: sbr.Stop, rule: sbr.RuleOldestElsewhere},
		{name: "keep-oldest: strict, the oldest alone", strategy: sbr.KeepOldest{Strict: true, DownIfAlone: true}, here: "abcd", voters: "abe", quorum: true, want: sbr.Continue, rule: sbr.RuleVoterQuorum, down: "e"},
		{name: "keep-oldest: strict, the oldest before the others abdicate", strategy: sbr.KeepOldest{Strict: true}, here: "cde", voters: "abe", lossy: true, want: sbr.Stop, rule: sbr.RuleOtherQuorum},
		{name: "keep-oldest: strict, the oldest after they have", strategy: sbr.KeepOldest{Strict: true}, here: "cde", voters: "abe", lossy: true, abdict: true, want: sbr.MayForce, rule: sbr.RuleLossy, loses: true},

		{name: "down-all", strategy: sbr.DownAll{}, here: "abcd", voters: "abc", quorum: true, want: sbr.Stop, rule: sbr.RuleDownAll},
		{name: "lease-majority: half, later", strategy: sbr.LeaseMajority{MinorityDelay: 7 * time.Second}, here: "cd", voters: "abcd", want: sbr.MayForce, rule: sbr.RuleHalf, after: 7 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.strategy
			if s == nil {
				s = sbr.KeepMajority{}
			}
			got := sbr.Judge(s, sbr.Side{
				Members: ups(everybody), Voters: nodes(tt.voters), NextVoters: nodes(tt.next), Here: nodes(tt.here), Dead: nodes(tt.dead),
				Quorum: tt.quorum, Store: !tt.noStore, AllowLossy: tt.lossy, Abdicated: tt.abdict,
			})
			if got.Verdict != tt.want || got.Reason.Rule != tt.rule || got.After != tt.after || got.Lossy != tt.loses {
				t.Errorf("got %v (rule %s), want %v after %v, lossy %v, rule %s", got, got.Reason.Rule, tt.want, tt.after, tt.loses, tt.rule)
			}
			if !slices.Equal(got.Down, nodes(tt.down)) {
				t.Errorf("down got %v, want %v", got.Down, tt.down)
			}
			if len(got.Reason.Here) != len(tt.here) || got.Reason.Words == "" {
				t.Errorf("reason got %+v, want both sides and words", got.Reason)
			}
		})
	}
}

func TestTheStrictSideWithQuorumAbdicatesOnTheRow(t *testing.T) {
	side := sbr.Side{Members: ups("abcde"), Voters: nodes("abe"), Here: nodes("abc"), Quorum: true, Store: true}
	if j := sbr.Judge(sbr.KeepOldest{Strict: true}, side); !j.Abdicate {
		t.Errorf("got %v, want it to abdicate", j)
	}
	side.Store = false
	if j := sbr.Judge(sbr.KeepOldest{Strict: true}, side); j.Abdicate || j.Verdict != sbr.Stop {
		t.Errorf("without a store got %v, want it to stop only", j)
	}
}

func TestAReasonNamesBothSidesAndStaysShort(t *testing.T) {
	names := "abcdefghijklmnopqrstuvwxyz"
	j := sbr.Judge(sbr.KeepMajority{}, sbr.Side{Members: ups(names), Voters: nodes("abc"), Here: nodes("ab"), Quorum: true})
	for _, want := range []string{"continue: keep-majority: here 2 (a:1 b:1), there 24 (c:1 ", "n:1 and 12 more)", "quorum of 3 voters"} {
		if !strings.Contains(j.String(), want) {
			t.Errorf("got %q, want it to contain %q", j, want)
		}
	}
}

func TestNamesOfValues(t *testing.T) {
	for got, want := range map[string]string{
		sbr.Stop.String(): "stop", sbr.MayForce.String(): "may-force", sbr.Verdict(9).String(): "verdict(9)",
		sbr.DownNobody.String(): "down-nobody", sbr.DownSelf.String(): "down-self", sbr.Action(99).String(): "action(99)",
		sbr.ReverseDownIndirect.String(): "reverse-down-indirectly-connected", sbr.OldestActs.String(): "oldest",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestOnlyThoseWhoMustGoForBrokenLinks(t *testing.T) {
	cut := func(pairs ...string) (out []sbr.Observation) {
		for _, p := range pairs {
			out = append(out, sbr.Observation{Observer: member.NodeID(p[0]), Subject: member.NodeID(p[1])})
		}
		return out
	}
	for _, tt := range []struct {
		name        string
		cut         []sbr.Observation
		keep        string
		unreachable string
		want        string
		words       string
	}{
		{name: "nothing is cut", words: "every pair"},
		{name: "the younger end", cut: cut("ed"), want: "d"},
		{name: "both directions are one pair", cut: cut("de", "ed"), want: "d", words: "cannot talk: 1"},
		{name: "the center of a star", cut: cut("ca", "cb", "cd", "ce"), want: "c"},
		{name: "a triangle takes two", cut: cut("ab", "bc", "ca"), want: "ab"},
		{name: "a ring of five takes three", cut: cut("ab", "bc", "cd", "de", "ea"), want: "acd"},
		{name: "the one that must stay does", cut: cut("ca", "cb", "cd"), keep: "c", want: "abd"},
		{name: "two that must stay remain cut off", cut: cut("ab"), keep: "ab", words: "remain because both must stay: 1"},
		{name: "what the unreachable say is not heard", cut: cut("ab", "bc"), unreachable: "b"},
		{name: "strangers and oneself are not heard", cut: cut("az", "za", "aa")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := sbr.Cover(sbr.View{Members: ups("abcde"), Observations: tt.cut, Unreachable: nodes(tt.unreachable)}, nodes(tt.keep))
			if !slices.Equal(d.Down, nodes(tt.want)) {
				t.Errorf("down got %v, want %v (%v)", d.Down, tt.want, d)
			}
			if !strings.Contains(d.Reason.Words, tt.words) {
				t.Errorf("words got %q, want %q", d.Reason.Words, tt.words)
			}
			if (d.Action == sbr.DownNobody) != (tt.want == "") {
				t.Errorf("action got %v for %v", d.Action, d.Down)
			}
		})
	}
}

func TestACoverOfAHugeMeshIsFoundInBoundedSteps(t *testing.T) {
	const n = 300
	v := sbr.View{}
	for i := range n {
		id := member.NodeID([]byte{byte('a' + i/26), byte('a' + i%26)})
		v.Members = append(v.Members, sbr.Member{Member: member.Member{Node: member.Node{ID: id, Addr: string(id) + ":1"}, Status: member.Up, JoinedAt: uint64(i)}})
		for j := range i {
			if (i*7+j*13)%5 == 0 {
				v.Observations = append(v.Observations, sbr.Observation{Observer: id, Subject: v.Members[j].ID})
			}
		}
	}
	d := sbr.Cover(v, nil)
	for _, o := range v.Observations {
		if !d.Downs(o.Observer) && !d.Downs(o.Subject) {
			t.Fatalf("%v and %v stay and cannot talk", o.Observer, o.Subject)
		}
	}
	if !strings.Contains(d.Reason.Words, "fewer might do") {
		t.Errorf("words got %q, want them to admit that the search was cut short", d.Reason.Words)
	}
}
