package cluster

import (
	"slices"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
)

func members(spec ...string) []member.Member {
	statuses := map[byte]member.Status{'j': member.Joining, 'u': member.Up, 'l': member.Leaving, 'e': member.Exiting, 'd': member.Down}
	var out []member.Member
	for i, s := range spec { // "ua" is Up in zone a
		out = append(out, member.Member{
			Node:   member.Node{ID: member.NodeID(rune('A' + i)), Addr: addr(i + 1)},
			Status: statuses[s[0]], Zone: s[1:], JoinedAt: uint64(i + 1),
		})
	}
	return out
}

func TestVotersFollowSizeZonesAndAge(t *testing.T) {
	tests := []struct {
		name    string
		members []member.Member
		voting  string
		want    []member.NodeID
	}{
		{"one", members("ua"), "", []member.NodeID{"A"}},
		{"two vote both", members("ua", "ub"), "", []member.NodeID{"A", "B"}},
		{"four have three", members("ua", "ub", "uc", "ua"), "", []member.NodeID{"A", "B", "C"}},
		{"six have five", members("u", "u", "u", "u", "u", "u"), "", []member.NodeID{"A", "B", "C", "D", "E"}},
		{"zones before age", members("ua", "ua", "ua", "ub", "uc"), "", []member.NodeID{"A", "D", "E", "B", "C"}},
		{"three of five in two zones", members("ua", "ua", "ua", "ub"), "", []member.NodeID{"A", "D", "B"}},
		{"seven beyond three zones", members("ua", "ub", "uc", "ud", "ua", "ub", "uc", "ud"), "", []member.NodeID{"A", "B", "C", "D", "E", "F", "G"}},
		{"who votes goes on", members("u", "u", "u", "u"), "BCD", []member.NodeID{"B", "C", "D"}},
		{"a leaving member gives its vote up", members("la", "ub", "uc", "ua"), "ABC", []member.NodeID{"B", "C", "D"}},
		{"joining members do not vote", members("u", "j", "j"), "", []member.NodeID{"A"}},
		{"when all leave the last ones vote", members("l", "l", "e"), "ABC", []member.NodeID{"A", "B"}},
		{"when all exit they vote", members("e", "e"), "AB", []member.NodeID{"A", "B"}},
		{"nobody", members("d"), "A", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := chooseVoters(tt.members, func(id member.NodeID) bool { return slices.Contains([]byte(tt.voting), id[0]) })
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestVoterChangesAreSingleAndSafeInOrder(t *testing.T) {
	servers := func(spec string) []raft.Server { // upper case votes, lower case does not
		var out []raft.Server
		for _, r := range spec {
			s := raft.Server{ID: raft.ServerID(r), Suffrage: raft.Voter}
			if r >= 'a' {
				s = raft.Server{ID: raft.ServerID(r - 'a' + 'A'), Suffrage: raft.Nonvoter}
			}
			out = append(out, s)
		}
		return out
	}
	tests := []struct {
		name     string
		members  []member.Member
		servers  string
		caughtUp bool
		want     voterStepKind
		id       member.NodeID
	}{
		{"a new member is added to catch up", members("u", "u"), "A", false, stepAdd, "B"},
		{"it waits until it has caught up", members("u", "u"), "Ab", false, stepWait, ""},
		{"then it votes", members("u", "u"), "Ab", true, stepPromote, "B"},
		{"the dead go first", members("u", "d", "u", "u"), "AB", true, stepRemove, "B"},
		{"a server that is no member is removed", members("u"), "AZ", true, stepRemove, "Z"},
		{"nobody is removed before the successor votes", members("u", "l", "u", "u"), "ABc", false, stepAdd, "D"},
		{"nor while the successor catches up", members("u", "l", "u"), "ABc", false, stepWait, ""},
		{"one that leaves is removed when the others vote", members("u", "l", "u"), "ABC", true, stepRemove, "B"},
		{"a leader that leaves hands over", members("l", "u", "u"), "ABC", true, stepTransfer, ""},
		{"when all exit the others are removed", members("e", "e"), "AB", true, stepRemove, "B"},
		{"in order", members("u", "u", "u"), "ABC", true, stepNone, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := nextVoterStep(tt.members, servers(tt.servers), "A", func(member.NodeID) bool { return tt.caughtUp })
			if got.kind != tt.want || got.id != tt.id {
				t.Errorf("got step %d for %q, want %d for %q", got.kind, got.id, tt.want, tt.id)
			}
		})
	}
}
