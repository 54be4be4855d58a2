package placement_test

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

func TestApplyFollowsTheTransitions(t *testing.T) {
	key := placement.Key{Type: "t", Shard: 0}
	op := func(kind placement.OpKind, node string, epoch uint64) placement.Op {
		return placement.Op{Kind: kind, Key: key, Node: member.NodeID(node), Epoch: epoch}
	}
	notX := func(id member.NodeID) bool { return id != "x" }
	tests := []struct {
		name  string
		table string
		op    placement.Op
		want  string // "" when nothing may change
		epoch uint64
	}{
		{"assign an unassigned shard", ".", op(placement.Assign, "a", 0), "a", 100},
		{"assign forgets the wish", ".b", op(placement.Assign, "a", 0), "a", 100},
		{"assign a running shard", "b", op(placement.Assign, "a", 0), "", 1},
		{"assign a moving shard", "b>a", op(placement.Assign, "a", 0), "", 1},
		{"assign to who may get nothing", ".", op(placement.Assign, "x", 0), "", 1},
		{"begin to move", "a", op(placement.BeginMove, "b", 1), "a>b", 1},
		{"begin to move at an older epoch", "a", op(placement.BeginMove, "b", 7), "", 1},
		{"begin to move to the owner", "a", op(placement.BeginMove, "a", 1), "", 1},
		{"begin to move to who may get nothing", "a", op(placement.BeginMove, "x", 1), "", 1},
		{"begin to move twice", "a>b", op(placement.BeginMove, "c", 1), "", 1},
		{"begin to move what nobody owns", ".", op(placement.BeginMove, "b", 1), "", 1},
		{"release a moving shard", "a>b", op(placement.Release, "", 1), ".b", 1},
		{"release a running shard", "a", op(placement.Release, "", 1), ".", 1},
		{"release at another epoch", "a>b", op(placement.Release, "", 2), "", 1},
		{"release twice", ".b", op(placement.Release, "", 1), "", 1},
		{"an unknown kind", "a", op(9, "b", 1), "", 1},
		{"no kind", "a", op(0, "b", 1), "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := table(t, tt.table)
			changes := tab.Apply(100, []placement.Op{tt.op}, notX)
			if tt.want == "" {
				if got := draw(tab, "t"); len(changes) != 0 || got != tt.table {
					t.Fatalf("got %q with changes %v, want %q unchanged", got, changes, tt.table)
				}
				return
			}
			if got := draw(tab, "t"); got != tt.want {
				t.Errorf("table got %q, want %q", got, tt.want)
			}
			row, _ := tab.Get(key)
			if row.Epoch != tt.epoch || row.Since != 100 {
				t.Errorf("epoch and since got %d and %d, want %d and 100", row.Epoch, row.Since, tt.epoch)
			}
			if len(changes) != 1 || changes[0] != (placement.Change{Key: key, Row: row}) {
				t.Errorf("changes got %v, want the row %v", changes, row)
			}
			if err := placement.Check(tab); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestApplySkipsShardsItDoesNotHave(t *testing.T) {
	tab := table(t, ". .")
	for _, key := range []placement.Key{{Type: "t", Shard: -1}, {Type: "t", Shard: 2}, {Type: "other", Shard: 0}} {
		if got := tab.Apply(9, []placement.Op{{Kind: placement.Assign, Key: key, Node: "a"}}, all); len(got) != 0 {
			t.Errorf("op on %s changed %v, want nothing", key, got)
		}
		if _, ok := tab.Get(key); ok {
			t.Errorf("Get(%s) found a row, want none", key)
		}
	}
}

func TestDropTakesEverythingFromANode(t *testing.T) {
	tab := table(t, "a a>b b>a . .a b c>b")
	changes := tab.Drop(100, "a")
	if got, want := draw(tab, "t"), ". .b b> . . b c>b"; got != want {
		t.Errorf("table got %q, want %q", got, want)
	}
	if len(changes) != 4 {
		t.Errorf("got %d changes, want 4: %v", len(changes), changes)
	}
	if got := tab.Owned("a"); got != 0 {
		t.Errorf("a owns %d shards, want 0", got)
	}
	if row, _ := tab.Get(placement.Key{Type: "t", Shard: 0}); row.Epoch != 1 || row.Since != 100 {
		t.Errorf("dropped row got %+v, want its epoch kept at 1", row)
	}
	if again := tab.Drop(101, "a"); len(again) != 0 {
		t.Errorf("a second drop changed %v, want nothing", again)
	}
}

func TestRegisterRefusesWhatDoesNotFit(t *testing.T) {
	tab := placement.NewTable()
	for _, tt := range []struct {
		name string
		n    int
	}{{"", 3}, {"t", 0}, {"t", -1}, {"t", placement.MaxShards + 1}} {
		if err := tab.Register(tt.name, tt.n); err == nil {
			t.Errorf("Register(%q, %d) got nil, want an error", tt.name, tt.n)
		}
	}
	if err := tab.Register("t", 3); err != nil {
		t.Fatal(err)
	}
	tab.Apply(1, []placement.Op{{Kind: placement.Assign, Key: placement.Key{Type: "t"}, Node: "a"}}, all)
	if err := tab.Register("t", 3); err != nil || draw(tab, "t") != "a . ." {
		t.Errorf("registering again got %v and %q, want nil and no change", err, draw(tab, "t"))
	}
	if err := tab.Register("t", 4); !errors.Is(err, placement.ErrShardCount) || !strings.Contains(err.Error(), `"t" has 3, not 4`) {
		t.Errorf("another count got %v, want ErrShardCount with both counts", err)
	}
}

func TestSnapshotsRoundTrip(t *testing.T) {
	tab := table(t, "a a>b b> . .c")
	if err := tab.Register("u", 2); err != nil {
		t.Fatal(err)
	}
	back, err := placement.Load(tab.Rows())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back.Rows(), tab.Rows()) {
		t.Errorf("loaded rows got %v, want %v", back.Rows(), tab.Rows())
	}
}

func TestLoadRefusesShardsOutOfRange(t *testing.T) {
	for _, c := range []placement.Change{
		{Key: placement.Key{Type: "t", Shard: -1}},
		{Key: placement.Key{Type: "t", Shard: placement.MaxShards}},
		{Key: placement.Key{Type: "", Shard: 0}},
	} {
		if _, err := placement.Load([]placement.Change{c}); err == nil {
			t.Errorf("Load(%v) got nil, want an error", c)
		}
	}
}

func TestHistoryNoticesBrokenRules(t *testing.T) {
	run := func(owner string, epoch, since uint64) placement.Shard {
		return placement.Shard{State: placement.Running, Owner: member.NodeID(owner), Epoch: epoch, Since: since}
	}
	free := func(epoch, since uint64) placement.Shard { return placement.Shard{Epoch: epoch, Since: since} }
	tests := []struct {
		name string
		rows []placement.Shard
		want string // "" when nothing is wrong
	}{
		{"a whole life", []placement.Shard{{}, run("a", 5, 5), {State: placement.Moving, Owner: "a", To: "b", Epoch: 5, Since: 6}, free(5, 7), run("b", 8, 8)}, ""},
		{"the same row twice", []placement.Shard{run("a", 5, 5), run("a", 5, 5)}, ""},
		{"an epoch that shrinks", []placement.Shard{free(5, 7), free(4, 8)}, "epoch of t/0 went from 5 to 4"},
		{"an index that shrinks", []placement.Shard{free(5, 7), free(5, 6)}, "went from 7 to 6"},
		{"an owner that was not released", []placement.Shard{run("a", 5, 5), run("b", 6, 6)}, "from a to b without being released"},
		{"two owners at one epoch", []placement.Shard{run("a", 5, 5), free(5, 6), run("b", 5, 7)}, "two owners at epoch 5: b and a|two owners at epoch 5: a and b"},
		{"no new epoch", []placement.Shard{run("a", 5, 5), free(5, 6), run("a", 5, 7)}, "without a new epoch"},
		{"a move taken back", []placement.Shard{{State: placement.Moving, Owner: "a", To: "b", Epoch: 5, Since: 6}, run("a", 5, 7)}, "runs again"},
		{"an owner without assignment", []placement.Shard{{Owner: "a"}}, "unassigned but has owner"},
		{"an assignment without owner", []placement.Shard{{State: placement.Running, Epoch: 1, Since: 1}}, "has no owner"},
		{"an owner without epoch", []placement.Shard{{State: placement.Running, Owner: "a"}}, "never assigned"},
		{"a wish while running", []placement.Shard{{State: placement.Running, Owner: "a", To: "b", Epoch: 1, Since: 1}}, "should go to b"},
		{"a move to itself", []placement.Shard{{State: placement.Moving, Owner: "a", To: "a", Epoch: 1, Since: 1}}, "to itself"},
		{"a change before its epoch", []placement.Shard{{State: placement.Running, Owner: "a", Epoch: 2, Since: 1}}, "before its epoch"},
		{"an unknown state", []placement.Shard{{State: 9}}, "state(9)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h placement.History
			var err error
			for i, row := range tt.rows {
				err = h.Observe(placement.Change{Key: placement.Key{Type: "t"}, Row: row})
				if err != nil && i < len(tt.rows)-1 {
					t.Fatalf("row %d got %v, want nil", i, err)
				}
			}
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want nil", err)
			case tt.want != "" && (err == nil || !containsOne(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func containsOne(s, alternatives string) bool {
	for a := range strings.SplitSeq(alternatives, "|") {
		if strings.Contains(s, a) {
			return true
		}
	}
	return false
}

// Whatever ops arrive in whatever order, valid or not, the table gives no shard
// to two owners and its epochs only grow.
func TestAnyOpsKeepTheInvariants(t *testing.T) {
	ids := []member.NodeID{"", "a", "b", "c"}
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		tab := placement.NewTable()
		if err := tab.Register("t", 4); err != nil {
			t.Fatal(err)
		}
		var h placement.History
		epochs := []uint64{0}
		for index := uint64(1); index < 300; index++ {
			if rng.IntN(20) == 0 {
				observe(t, &h, seed, tab.Drop(index, ids[1+rng.IntN(3)]))
				continue
			}
			ops := make([]placement.Op, 1+rng.IntN(4))
			for i := range ops {
				key := placement.Key{Type: "t", Shard: rng.IntN(5)}
				row, _ := tab.Get(key)
				epochs = append(epochs, row.Epoch)
				ops[i] = placement.Op{
					Kind: placement.OpKind(rng.IntN(5)), Key: key, Node: ids[rng.IntN(4)],
					Epoch: []uint64{row.Epoch, epochs[rng.IntN(len(epochs))]}[rng.IntN(2)],
				}
			}
			observe(t, &h, seed, tab.Apply(index, ops, func(id member.NodeID) bool { return id != "" }))
			if err := placement.Check(tab); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
}

func TestStatesHaveNames(t *testing.T) {
	for s, want := range map[placement.State]string{placement.Unassigned: "unassigned", placement.Running: "running", placement.Moving: "moving", 7: "state(7)"} {
		if got := s.String(); got != want {
			t.Errorf("State(%d) got %q, want %q", uint8(s), got, want)
		}
	}
	a, b := placement.Key{Type: "a", Shard: 10}, placement.Key{Type: "a", Shard: 9}
	if placement.CompareKeys(a, b) <= 0 || placement.CompareKeys(a, placement.Key{Type: "b"}) >= 0 || a.String() != "a/10" {
		t.Errorf("keys %s and %s compare or print wrongly", a, b)
	}
}
