package wire

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

func someMember() member.Member {
	return member.Member{
		Node: member.Node{ID: "00ff", Addr: "10.0.0.1:25520"}, Status: member.Leaving, Zone: "a",
		Roles: []string{"x", "y"}, AppVersion: "1.2.3", JoinedAt: 7,
	}
}

func commands() []table.Command {
	return []table.Command{
		table.Form{Generation: 3, Settings: map[string]string{"a": "b"}, Types: map[string]int{"t": 1000}, Member: someMember()},
		table.Join{Member: someMember()},
		table.SetStatus{ID: "n", Status: member.Down},
		table.Expire{ID: "n"},
		table.Place{Ops: []placement.Op{{Kind: placement.Release, Key: placement.Key{Type: "t", Shard: 999}, Node: "n", Epoch: 1 << 40}}},
	}
}

func TestCommandsSurviveTheWire(t *testing.T) {
	for _, want := range commands() {
		b, err := EncodeCommand(want)
		if err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		got, err := DecodeCommand(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
}

// same checks that a message survives encoding and decoding.
func same[T any](t *testing.T, want T, encode func(T) ([]byte, error), decode func([]byte) (T, error)) {
	t.Helper()
	b, err := encode(want)
	if err != nil {
		t.Fatalf("%T: %v", want, err)
	}
	got, err := decode(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func someTable() table.Snapshot {
	return table.Snapshot{
		Generation: 2, Index: 9, Settings: map[string]string{"k": "v"}, Types: map[string]int{"t": 1},
		Members: []member.Member{someMember()}, Expired: map[member.NodeID]uint64{"n": 4},
		Shards: []placement.Change{{Key: placement.Key{Type: "t"}, Row: placement.Shard{State: placement.Moving, Owner: "a", Epoch: 5, To: "b", Since: 8}}},
	}
}

func TestMessagesSurviveTheWire(t *testing.T) {
	tb := someTable()
	n := member.Node{ID: "a", Addr: "b:1"}
	same(t, tb, EncodeTable, DecodeTable)
	same(t, Push{Generation: 1, Term: 2, Leader: n, Prev: 3, Entries: []Entry{{Index: 4, Command: []byte("x")}}, Table: &tb}, EncodePush, DecodePush)
	same(t, PushReply{Applied: 3, Refusal: "no"}, EncodePushReply, DecodePushReply)
	same(t, Renew{ID: "a", Generation: 1, Applied: 2, RaftIndex: 3}, EncodeRenew, DecodeRenew)
	same(t, LeaderReply{OK: true, Refusal: "r", Final: true, NotLeader: true, Leader: n, Generation: 1, Term: 2, ExpireIndex: 3, Gone: true}, EncodeLeaderReply, DecodeLeaderReply)
	same(t, JoinRequest{Member: someMember(), Cluster: "c", Settings: map[string]string{"a": "b"}}, EncodeJoinRequest, DecodeJoinRequest)
	same(t, Propose{Generation: 1, ID: "a", Status: member.Leaving, Ops: []placement.Op{{Kind: placement.Assign, Key: placement.Key{Type: "t", Shard: 1}}}}, EncodePropose, DecodePropose)
	same(t, n, EncodeSuspect, DecodeSuspect)
	same(t, FloorRequest{Generation: 1, Term: 2}, EncodeFloorRequest, DecodeFloorRequest)
	same(t, FloorReply{OK: true, Refusal: "r", Heard: true, Age: time.Second}, EncodeFloorReply, DecodeFloorReply)
}

func TestEncodingIsTheSameEveryTime(t *testing.T) {
	a, err := EncodeTable(someTable())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if b, err := EncodeTable(someTable()); err != nil || len(a) != len(b) {
			t.Fatalf("got %d bytes, %v, want %d", len(b), err, len(a))
		}
	}
}

// FuzzClusterMessages checks that nothing another node may send panics, and
// that what decodes encodes to something that decodes to the same.
func FuzzClusterMessages(f *testing.F) {
	for _, c := range commands() {
		b, err := EncodeCommand(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	tb, err := EncodeTable(someTable())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tb)
	f.Add([]byte(nil))
	f.Add(bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := DecodeCommand(b); err == nil {
			again, err := EncodeCommand(c)
			if err != nil {
				t.Fatalf("decoded %+v does not encode: %v", c, err)
			}
			if got, err := DecodeCommand(again); err != nil || !reflect.DeepEqual(got, c) {
				t.Fatalf("got %+v, %v, want %+v", got, err, c)
			}
		}
		if s, err := DecodeTable(b); err == nil {
			_, _ = table.FromSnapshot(s)
		}
		_, _ = DecodePush(b)
		_, _ = DecodePushReply(b)
		_, _ = DecodeRenew(b)
		_, _ = DecodeLeaderReply(b)
		_, _ = DecodeJoinRequest(b)
		_, _ = DecodePropose(b)
		_, _ = DecodeSuspect(b)
		_, _ = DecodeFloorRequest(b)
		_, _ = DecodeFloorReply(b)
	})
}
