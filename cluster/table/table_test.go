package table

import (
	"errors"
	"reflect"
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

func node(id string) member.Member {
	return member.Member{Node: member.Node{ID: member.NodeID(id), Addr: id + ":1"}}
}

// formed returns a table of generation 1 with "a" Up and one type of 4 shards.
func formed(t *testing.T) *Table {
	t.Helper()
	tb := New()
	if _, err := tb.Apply(1, Form{Generation: 1, Types: map[string]int{"x": 4}, Member: node("a")}); err != nil {
		t.Fatal(err)
	}
	return tb
}

func apply(t *testing.T, tb *Table, c Command) Delta {
	t.Helper()
	d, err := tb.Apply(tb.Index+1, c)
	if err != nil {
		t.Fatalf("%T: %v", c, err)
	}
	return d
}

func assign(shard int, to string) Place {
	return Place{Ops: []placement.Op{{Kind: placement.Assign, Key: placement.Key{Type: "x", Shard: shard}, Node: member.NodeID(to)}}}
}

func TestOnlyFormComesFirstAndOnlyOnce(t *testing.T) {
	tb := New()
	if _, err := tb.Apply(1, Join{node("b")}); !errors.Is(err, ErrNotFormed) {
		t.Errorf("join first: got %v, want ErrNotFormed", err)
	}
	if _, err := tb.Apply(2, Form{Generation: 1, Member: node("a")}); err != nil {
		t.Errorf("form: %v", err)
	}
	if _, err := tb.Apply(3, Form{Generation: 2, Member: node("b")}); !errors.Is(err, ErrFormed) {
		t.Errorf("form again: got %v, want ErrFormed", err)
	}
	if _, err := tb.Apply(3, Join{node("b")}); err == nil {
		t.Error("an index was applied twice")
	}
	if tb.Generation != 1 {
		t.Errorf("got generation %d, want 1", tb.Generation)
	}
}

func TestAnAddressChangesHandsOnlyWhenItsMemberIsDown(t *testing.T) {
	tb := formed(t)
	again := node("b")
	again.Addr = "a:1"
	if _, err := tb.Apply(2, Join{again}); !errors.Is(err, ErrAddrTaken) {
		t.Errorf("got %v, want ErrAddrTaken", err)
	}
	apply(t, tb, SetStatus{ID: "a", Status: member.Down})
	apply(t, tb, Join{again})
	if _, err := tb.Apply(tb.Index+1, Join{again}); !errors.Is(err, ErrMemberExists) {
		t.Errorf("got %v, want ErrMemberExists", err)
	}
}

func TestStatusesChangeAlongTheLifeOnly(t *testing.T) {
	all := []member.Status{member.Joining, member.Up, member.Leaving, member.Exiting, member.Down, member.Removed}
	for _, from := range all[:5] {
		for _, to := range all {
			tb := formed(t)
			m := node("b")
			m.Status = from
			tb.members["b"] = m
			_, err := tb.Apply(2, SetStatus{ID: "b", Status: to})
			if want := from == to || from.CanBecome(to); (err == nil) != want {
				t.Errorf("%s to %s: got %v, want allowed %v", from, to, err, want)
			}
		}
	}
}

func TestAMemberExitsOnlyWithoutShards(t *testing.T) {
	tb := formed(t)
	apply(t, tb, assign(0, "a"))
	apply(t, tb, SetStatus{ID: "a", Status: member.Leaving})
	if _, err := tb.Apply(tb.Index+1, SetStatus{ID: "a", Status: member.Exiting}); !errors.Is(err, ErrOwnsShards) {
		t.Errorf("got %v, want ErrOwnsShards", err)
	}
	row, _ := tb.Shards.Get(placement.Key{Type: "x"})
	apply(t, tb, Place{Ops: []placement.Op{{Kind: placement.Release, Key: placement.Key{Type: "x"}, Epoch: row.Epoch}}})
	apply(t, tb, SetStatus{ID: "a", Status: member.Exiting})
}

func TestTheEndOfASessionTakesTheShards(t *testing.T) {
	for _, c := range []Command{Expire{"a"}, SetStatus{ID: "a", Status: member.Down}, SetStatus{ID: "a", Status: member.Removed}} {
		tb := formed(t)
		apply(t, tb, assign(1, "a"))
		apply(t, tb, assign(2, "a"))
		d := apply(t, tb, c)
		if len(d.Shards) != 2 || tb.Shards.Owned("a") != 0 {
			t.Errorf("%T: got %d changed shards and %d owned, want 2 and 0", c, len(d.Shards), tb.Shards.Owned("a"))
		}
		if _, ok := c.(Expire); ok && tb.Expired("a") != tb.Index {
			t.Errorf("got expire index %d, want %d", tb.Expired("a"), tb.Index)
		}
	}
}

func TestAShardIsNeverTakenFromALiveOwner(t *testing.T) {
	tb := formed(t)
	apply(t, tb, Join{node("b")})
	apply(t, tb, SetStatus{ID: "b", Status: member.Up})
	apply(t, tb, assign(0, "a"))
	if d := apply(t, tb, assign(0, "b")); len(d.Shards) != 0 {
		t.Errorf("an owned shard was assigned: %+v", d.Shards)
	}
	if d := apply(t, tb, Place{Ops: []placement.Op{{Kind: placement.Release, Key: placement.Key{Type: "x"}, Epoch: 999}}}); len(d.Shards) != 0 {
		t.Errorf("a release of another epoch took effect: %+v", d.Shards)
	}
	if d := apply(t, tb, assign(1, "nobody")); len(d.Shards) != 0 {
		t.Errorf("a shard was assigned to a node that is not a member: %+v", d.Shards)
	}
}

func TestSnapshotAndTableAreTheSame(t *testing.T) {
	tb := formed(t)
	apply(t, tb, Join{node("b")})
	apply(t, tb, assign(3, "a"))
	apply(t, tb, Expire{"a"})
	apply(t, tb, assign(2, "a"))
	want := tb.Snapshot()
	again, err := FromSnapshot(want)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.Snapshot(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want.Types["x"] = 5
	if _, err := FromSnapshot(want); err == nil {
		t.Error("a snapshot whose types disagree with its rows was accepted")
	}
}
