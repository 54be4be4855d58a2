package placement_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// mem makes a member named by one letter, so that tables read well.
func mem(id string, s member.Status) member.Member {
	return member.Member{Node: member.Node{ID: member.NodeID(id), Addr: id + ":25520"}, Status: s, AppVersion: "1"}
}

func withVersion(m member.Member, v string) member.Member { m.AppVersion = v; return m }

func withRole(m member.Member, r string) member.Member { m.Roles = []string{r}; return m }

func ups(ids string) []member.Member {
	var out []member.Member
	for _, id := range ids {
		out = append(out, mem(string(id), member.Up))
	}
	return out
}

// table reads a drawing of one type, one word per shard: "." is unassigned,
// ".b" unassigned with a wish for b, "a" runs on a, "a>b" moves from a to b,
// "a>" moves to nobody. Shard i has epoch i+1.
func table(t *testing.T, drawing string) *placement.Table {
	t.Helper()
	tab, err := placement.Load(rows("t", drawing))
	if err != nil {
		t.Fatal(err)
	}
	if err := placement.Check(tab); err != nil {
		t.Fatal(err)
	}
	return tab
}

func rows(name, drawing string) []placement.Change {
	var out []placement.Change
	for i, word := range strings.Fields(drawing) {
		epoch := uint64(i + 1)
		row := placement.Shard{Epoch: epoch, Since: epoch}
		owner, to, moving := strings.Cut(word, ">")
		switch {
		case word[0] == '.':
			row.To = member.NodeID(word[1:])
		case moving:
			row.State, row.Owner, row.To = placement.Moving, member.NodeID(owner), member.NodeID(to)
		default:
			row.State, row.Owner = placement.Running, member.NodeID(owner)
		}
		out = append(out, placement.Change{Key: placement.Key{Type: name, Shard: i}, Row: row})
	}
	return out
}

// draw is the reverse of table.
func draw(tab *placement.Table, name string) string {
	var words []string
	for _, row := range tab.Shards(name) {
		switch row.State {
		case placement.Unassigned:
			words = append(words, "."+string(row.To))
		case placement.Moving:
			words = append(words, string(row.Owner)+">"+string(row.To))
		case placement.Running:
			words = append(words, string(row.Owner))
		}
	}
	return strings.Join(words, " ")
}

func all(member.NodeID) bool { return true }

func TestPlanDecides(t *testing.T) {
	suspend := func(ids string) func(member.NodeID) bool {
		return func(id member.NodeID) bool { return strings.Contains(ids, string(id)) }
	}
	tests := []struct {
		name      string
		table     string
		members   []member.Member
		suspended string
		role      string
		policy    placement.Policy
		want      string // the table after applying the decision
		actions   string // of the reasons, in order
	}{
		{name: "new shards are spread evenly", table: ". . . . . .", members: ups("abc"), want: "a b c a b c", actions: "place"},
		{name: "an unassigned shard goes where it was moving to", table: ".b a c", members: ups("abc"), want: "b a c", actions: "place"},
		{name: "a wish wins over the fewest shards", table: ".a a a b", members: ups("ab"), want: "a a a b", actions: "place"},
		{name: "a wish for a silent member is ignored", table: ".b a", members: ups("abc"), suspended: "b", want: "c a", actions: "place"},
		{name: "a wish for a leaving member is ignored", table: ".b a c", members: []member.Member{mem("a", member.Up), mem("b", member.Leaving), mem("c", member.Up)}, want: "a a c", actions: "place"},
		{name: "a wish for a member that is gone is ignored", table: ".x a", members: ups("ab"), want: "b a", actions: "place"},
		{name: "wishes are counted before the rest is spread", table: ". .a .a", members: ups("ab"), want: "b a a", actions: "place"},
		{name: "joining members get nothing", table: ". .", members: []member.Member{mem("a", member.Joining), mem("b", member.Up)}, want: "b b", actions: "place"},
		{name: "without an eligible member shards wait", table: ". a", members: []member.Member{mem("a", member.Leaving), mem("b", member.Up)}, suspended: "b", want: ". a", actions: "wait"},
		{name: "without members shards wait", table: ". .", want: ". .", actions: "wait"},
		{name: "members without the role get nothing", table: ". .", role: "bank", members: []member.Member{withRole(mem("a", member.Up), "web"), withRole(mem("b", member.Up), "bank")}, want: "b b", actions: "place"},
		{name: "members without the role are evacuated", table: "a b", role: "bank", members: []member.Member{withRole(mem("a", member.Up), "web"), withRole(mem("b", member.Up), "bank")}, want: "a>b b", actions: "evacuate"},
		{name: "a leaving member is evacuated at once and evenly", table: "a a a a b c", members: []member.Member{mem("a", member.Leaving), mem("b", member.Up), mem("c", member.Up)}, policy: placement.Policy{MaxMoves: 1}, want: "a>b a>c a>b a>c b c", actions: "evacuate"},
		{name: "an exiting member is evacuated", table: "a b", members: []member.Member{mem("a", member.Exiting), mem("b", member.Up)}, want: "a>b b", actions: "evacuate"},
		{name: "shards that move already are left alone", table: "a>b a>b b", members: []member.Member{mem("a", member.Leaving), mem("b", member.Up), mem("c", member.Up)}, want: "a>b a>b b", actions: "wait"},
		{name: "a moving shard counts where it goes", table: "a>b a a .", members: ups("ab"), want: "a>b a a b", actions: "place"},
		{name: "silent members keep their shards until their session is over", table: "a a b", members: ups("ab"), suspended: "a", want: "a a b", actions: ""},
		{name: "a down member is not asked to move anything", table: "a b", members: []member.Member{mem("a", member.Down), mem("b", member.Up)}, want: "a b", actions: ""},
		{name: "a difference of one is left alone", table: "a a b", members: ups("ab"), want: "a a b", actions: ""},
		{name: "a difference of two is evened out", table: "a a a b", members: ups("ab"), want: "a>b a a b", actions: "rebalance"},
		{name: "a new member gets its share", table: "a a a b b b", members: ups("abc"), want: "a>c a a b>c b b", actions: "rebalance"},
		{name: "rebalancing is bounded", table: "a a a a a a", members: ups("ab"), policy: placement.Policy{MaxMoves: 2}, want: "a>b a>b a a a a", actions: "rebalance"},
		{name: "moves under way use up the bound", table: "a>b a a a a a", members: ups("ab"), policy: placement.Policy{MaxMoves: 2}, want: "a>b a>b a a a a", actions: "rebalance"},
		{name: "rebalancing waits for unassigned shards", table: "a a a a .", members: ups("abc"), want: "a a a a b", actions: "place"},
		{name: "rebalancing waits for a joining member", table: "a a a", members: append(ups("ab"), mem("c", member.Joining)), want: "a a a", actions: "wait"},
		{name: "rebalancing waits for a leaving member", table: "a a a", members: append(ups("ab"), mem("c", member.Leaving)), want: "a a a", actions: "wait"},
		{name: "rebalancing waits for a silent member", table: "a a a", members: ups("abc"), suspended: "c", want: "a a a", actions: "wait"},
		{name: "rebalancing does not wait for a member of another role", table: "a a", role: "bank", members: []member.Member{withRole(mem("a", member.Up), "bank"), withRole(mem("b", member.Up), "bank"), withRole(mem("c", member.Joining), "web")}, want: "a>b a", actions: "rebalance"},
		{name: "rebalancing waits for the end of a rolling update", table: "a a a", members: []member.Member{mem("a", member.Up), withVersion(mem("b", member.Up), "2")}, want: "a a a", actions: "wait"},
		{name: "in a rolling update shards go to the newest version", table: "a a b b", members: []member.Member{mem("a", member.Leaving), mem("b", member.Up), withVersion(mem("c", member.Up), "2")}, want: "a>c a>c b b", actions: "evacuate"},
		{name: "a decision is bounded", table: ". . .", members: ups("ab"), policy: placement.Policy{MaxOps: 2}, want: "a b .", actions: "place"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := table(t, tt.table)
			in := placement.Input{Table: tab, Members: tt.members, Suspended: suspend(tt.suspended), Role: func(string) string { return tt.role }}
			if len(tt.role) == 0 && tt.suspended == "" {
				in.Role, in.Suspended = nil, nil
			}
			d := placement.Plan(in, tt.policy)
			changes := tab.Apply(1000, d.Ops, all)
			if len(changes) != len(d.Ops) {
				t.Errorf("%d of %d ops applied, want all: %v", len(changes), len(d.Ops), d.Ops)
			}
			if got := draw(tab, "t"); got != tt.want {
				t.Errorf("table got %q, want %q", got, tt.want)
			}
			var actions []string
			for _, r := range d.Reasons {
				actions = append(actions, string(r.Action))
				if r.Text == "" || r.Type != "t" {
					t.Errorf("reason got %+v, want a type and a text", r)
				}
			}
			if got := strings.Join(actions, " "); got != tt.actions {
				t.Errorf("actions got %q, want %q", got, tt.actions)
			}
			if wantMore := tt.policy.MaxOps > 0; d.More != wantMore {
				t.Errorf("More got %v, want %v", d.More, wantMore)
			}
		})
	}
}

func TestReasonsNameTheCause(t *testing.T) {
	tests := []struct {
		name    string
		in      placement.Input
		wantSub []string
	}{
		{"nobody eligible", placement.Input{Table: table(t, ". ."), Members: ups("ab"), Suspended: all}, []string{"2 shards are unassigned", "of 2 members 2 are up, of which 2 are silent"}},
		{"nobody has the role", placement.Input{Table: table(t, ". ."), Members: ups("ab"), Role: func(string) string { return "bank" }}, []string{`of 2 members 2 are up, of which 0 have role "bank"`}},
		{"waiting names the member", placement.Input{Table: table(t, "a a a"), Members: append(ups("ab"), mem("c", member.Joining))}, []string{"differ by 3", "member c@c:25520 is joining"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := fmt.Sprint(placement.Plan(tt.in, placement.Policy{}).Reasons)
			for _, want := range tt.wantSub {
				if !strings.Contains(got, want) {
					t.Errorf("reasons got %s, want them to say %q", got, want)
				}
			}
		})
	}
}

func TestTypesShareTheBoundOfMoves(t *testing.T) {
	tab, err := placement.Load(append(rows("s", "a a a a a a"), rows("t", "a a a a a a")...))
	if err != nil {
		t.Fatal(err)
	}
	tab.Apply(50, placement.Plan(placement.Input{Table: tab, Members: ups("ab")}, placement.Policy{MaxMoves: 4}).Ops, all)
	if got, want := draw(tab, "s")+" | "+draw(tab, "t"), "a>b a>b a>b a a a | a>b a a a a a"; got != want {
		t.Errorf("table got %q, want %q", got, want)
	}
}

func TestSmallTypesSpreadByTheTotal(t *testing.T) {
	tab := placement.NewTable()
	for i := range 6 {
		if err := tab.Register(fmt.Sprintf("t%d", i), 1); err != nil {
			t.Fatal(err)
		}
	}
	tab.Apply(1, placement.Plan(placement.Input{Table: tab, Members: ups("abc")}, placement.Policy{}).Ops, all)
	for _, id := range []member.NodeID{"a", "b", "c"} {
		if got := tab.Owned(id); got != 2 {
			t.Errorf("%s owns %d shards, want 2", id, got)
		}
	}
}

func TestPlansDoNotDependOnTheOrderOfMembers(t *testing.T) {
	members := append(ups("abcd"), mem("x", member.Leaving))
	tab := table(t, ". . a a a .b x x x")
	want := placement.Plan(placement.Input{Table: tab, Members: members}, placement.Policy{})
	slices.Reverse(members)
	if got := placement.Plan(placement.Input{Table: tab, Members: members}, placement.Policy{}); !reflect.DeepEqual(got, want) {
		t.Errorf("plan got %v, want %v", got, want)
	}
}

func TestPolicyReportsAllProblemsAtOnce(t *testing.T) {
	err := placement.Policy{MaxMoves: -1, MaxOps: -1}.Validate()
	if err == nil || !strings.Contains(err.Error(), "MaxMoves") || !strings.Contains(err.Error(), "MaxOps") {
		t.Errorf("Validate() got %v, want both fields named", err)
	}
	if err := (placement.Policy{}).Validate(); err != nil {
		t.Errorf("Validate() of the zero policy got %v, want nil", err)
	}
	want := placement.Policy{MaxMoves: placement.DefaultMaxMoves, MaxOps: placement.DefaultMaxOps}
	if got := (placement.Policy{}).WithDefaults(); got != want {
		t.Errorf("WithDefaults() got %+v, want %+v", got, want)
	}
}

// From any table, rounds of Plan, Apply and Release in random order end with
// every shard running and members that differ by at most one, and no shard
// moves twice on the way.
func TestPlansSettleAndNoShardMovesTwice(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rng.IntN(6)
		members := ups("abcdef"[:n])
		for i := range rng.IntN(3) { // some were full and leave now
			members = append(members, mem(string(rune('x'+i)), member.Leaving))
		}
		tab := randomTable(t, rng, members)
		policy := placement.Policy{MaxMoves: 1 + rng.IntN(8), MaxOps: 1 + rng.IntN(60)}
		var h placement.History
		observe(t, &h, seed, tab.Rows())
		begun := map[placement.Key]int{}
		index := uint64(1000)
		total := len(tab.Rows())
		for round := 0; ; round++ {
			if round > 20*total+20 {
				t.Fatalf("seed %d: not settled after %d rounds: %s", seed, round, draw(tab, "t"))
			}
			// who leaves is gone when it has nothing left
			members = slices.DeleteFunc(members, func(m member.Member) bool { return m.Status == member.Leaving && tab.Owned(m.ID) == 0 })
			in := placement.Input{Table: tab, Members: members}
			d := placement.Plan(in, policy)
			if again := placement.Plan(in, policy); !reflect.DeepEqual(d, again) {
				t.Fatalf("seed %d: a second plan differs: got %v, want %v", seed, again, d)
			}
			if len(d.Ops) > policy.MaxOps {
				t.Fatalf("seed %d: got %d ops, want at most %d", seed, len(d.Ops), policy.MaxOps)
			}
			checkBound(t, seed, tab, d, policy)
			index++
			changed := tab.Apply(index, d.Ops, func(id member.NodeID) bool { return id < "x" })
			if len(changed) != len(d.Ops) {
				t.Fatalf("seed %d: %d of %d ops applied", seed, len(changed), len(d.Ops))
			}
			for _, c := range changed {
				if c.Row.State == placement.Moving {
					begun[c.Key]++
				}
			}
			observe(t, &h, seed, changed)
			released := releaseSome(tab, rng, &index)
			observe(t, &h, seed, released)
			if len(d.Ops) == 0 && len(released) == 0 && !unsettled(tab) {
				break
			}
		}
		for k, moves := range begun {
			if moves > 1 {
				t.Fatalf("seed %d: shard %s moved %d times", seed, k, moves)
			}
		}
		checkSettled(t, seed, tab, n)
	}
}

// Members come, leave and die at random while plans run: whatever happens, the
// table keeps its invariants, and once it is quiet it settles.
func TestPlansKeepInvariantsWhileMembersComeAndGo(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 2))
		tab := placement.NewTable()
		for _, name := range []string{"t", "u"} {
			if err := tab.Register(name, 1+rng.IntN(40)); err != nil {
				t.Fatal(err)
			}
		}
		var h placement.History
		var members []member.Member
		index, born := uint64(1), 0
		eligible := func(id member.NodeID) bool {
			for _, m := range members {
				if m.ID == id {
					return m.Status == member.Up
				}
			}
			return false
		}
		step := func() placement.Decision {
			index++
			d := placement.Plan(placement.Input{Table: tab, Members: members}, placement.Policy{MaxMoves: 5})
			observe(t, &h, seed, tab.Apply(index, d.Ops, eligible))
			observe(t, &h, seed, releaseSome(tab, rng, &index))
			return d
		}
		for range 200 {
			switch k := rng.IntN(8); {
			case k == 0 && len(members) < 7:
				born++
				members = append(members, mem(fmt.Sprintf("n%d", born), member.Joining))
			case k <= 2 && len(members) > 0:
				i := rng.IntN(len(members))
				m := &members[i]
				switch {
				case m.Status == member.Joining:
					m.Status = member.Up
				case m.Status == member.Up && rng.IntN(3) == 0:
					m.Status = member.Leaving
				case m.Status == member.Leaving && tab.Owned(m.ID) == 0, rng.IntN(4) == 0: // has left, or dies
					index++
					observe(t, &h, seed, tab.Drop(index, m.ID))
					members = append(members[:i:i], members[i+1:]...)
				}
			}
			step()
		}
		members = append(members, mem("last", member.Joining))
		up := 0
		for i := range members {
			if members[i].Status == member.Joining {
				members[i].Status = member.Up
			}
			if members[i].Status == member.Up {
				up++
			}
		}
		gone := members[:0:0]
		for _, m := range members {
			if m.Status == member.Up {
				gone = append(gone, m)
				continue
			}
			index++
			observe(t, &h, seed, tab.Drop(index, m.ID))
		}
		members = gone
		for round := 0; len(step().Ops) > 0 || unsettled(tab); round++ {
			if round > 500 {
				t.Fatalf("seed %d: not settled: %s | %s", seed, draw(tab, "t"), draw(tab, "u"))
			}
		}
		checkSettled(t, seed, tab, up)
	}
}

func randomTable(t *testing.T, rng *rand.Rand, members []member.Member) *placement.Table {
	t.Helper()
	var words []string
	for range 1 + rng.IntN(50) {
		// min skews the owners, so that there is something to even out
		owner := string(members[min(rng.IntN(len(members)), rng.IntN(len(members)))].ID)
		to := string(members[rng.IntN(len(members))].ID)
		switch rng.IntN(10) {
		case 0:
			words = append(words, ".")
		case 1:
			words = append(words, "."+to)
		case 2:
			words = append(words, owner+">")
		default:
			words = append(words, owner)
		}
	}
	return table(t, strings.Join(words, " "))
}

func releaseSome(tab *placement.Table, rng *rand.Rand, index *uint64) []placement.Change {
	var ops []placement.Op
	for _, c := range tab.Rows() {
		if c.Row.State == placement.Moving && rng.IntN(2) == 0 {
			ops = append(ops, placement.Op{Kind: placement.Release, Key: c.Key, Epoch: c.Row.Epoch})
		}
	}
	*index++
	return tab.Apply(*index, ops, all)
}

func unsettled(tab *placement.Table) bool {
	for _, c := range tab.Rows() {
		if c.Row.State != placement.Running {
			return true
		}
	}
	return false
}

func observe(t *testing.T, h *placement.History, seed uint64, changes []placement.Change) {
	t.Helper()
	for _, c := range changes {
		if err := h.Observe(c); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// checkBound looks at rebalancing only: evacuating is not bounded.
func checkBound(t *testing.T, seed uint64, tab *placement.Table, d placement.Decision, p placement.Policy) {
	t.Helper()
	moving := 0
	for _, c := range tab.Rows() {
		if c.Row.State == placement.Moving {
			moving++
		}
	}
	for _, r := range d.Reasons {
		if r.Action == placement.Rebalance && moving+r.Shards > p.MaxMoves {
			t.Fatalf("seed %d: %d shards move and %d more should, want at most %d", seed, moving, r.Shards, p.MaxMoves)
		}
	}
}

func checkSettled(t *testing.T, seed uint64, tab *placement.Table, members int) {
	t.Helper()
	if err := placement.Check(tab); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for _, name := range tab.Types() {
		counts := map[member.NodeID]int{}
		rows := tab.Shards(name)
		for _, row := range rows {
			if row.State != placement.Running {
				t.Fatalf("seed %d: a shard is left %s: %s", seed, row.State, draw(tab, name))
			}
			counts[row.Owner]++
		}
		if len(counts) > members {
			t.Fatalf("seed %d: got %d owners, want at most %d: %v", seed, len(counts), members, counts)
		}
		lo := len(rows) / members
		for id, n := range counts {
			if n < lo || n > lo+1 {
				t.Fatalf("seed %d: %s owns %d of %d shards, want %d or one more: %v", seed, id, n, len(rows), lo, counts)
			}
		}
	}
}
