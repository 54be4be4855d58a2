package sbr_test

import (
	"fmt"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sbr"
)

func members(names ...string) []sbr.Member {
	var out []sbr.Member
	for i, name := range names {
		out = append(out, sbr.Member{Member: member.Member{
			Node: member.Node{ID: member.NodeID(name), Addr: name + ":25520"}, Status: member.Up, JoinedAt: uint64(i + 1),
		}})
	}
	return out
}

// Five members, of which this side reaches three.
func ExampleDecide() {
	d := sbr.Decide(sbr.KeepMajority{}, sbr.View{
		Self:        "c",
		Members:     members("a", "b", "c", "d", "e"),
		Unreachable: []member.NodeID{"a", "b"},
	})
	fmt.Println(d.Down)
	fmt.Println(d)
	// Output:
	// [a b]
	// down-unreachable: keep-majority: here 3 (c:25520 d:25520 e:25520), there 2 (a:25520 b:25520); 3 of 5 is the majority: the unreachable go
}

// Two nodes with a store, and the link between them is cut.
func ExampleJudge() {
	for _, here := range []member.NodeID{"a", "b"} {
		j := sbr.Judge(sbr.KeepMajority{}, sbr.Side{
			Members: members("a", "b"),
			Voters:  []member.NodeID{"a", "b"},
			Here:    []member.NodeID{here},
			Store:   true,
		})
		fmt.Println(here, j.Verdict, j.After)
	}
	// Output:
	// a may-force 0s
	// b may-force 1s
}
