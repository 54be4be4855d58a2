package placement_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// Plan runs on the leader after each change of the table, so a quiet table must
// cost little: 10 types of 1000 shards on 50 members.
func BenchmarkPlan(b *testing.B) {
	var members []member.Member
	for i := range 50 {
		members = append(members, member.Member{Node: member.Node{ID: member.NodeID(fmt.Sprintf("n%d", i)), Addr: fmt.Sprintf("10.0.0.%d:25520", i)}, Status: member.Up})
	}
	fresh := func() *placement.Table {
		tab := placement.NewTable()
		for i := range 10 {
			if err := tab.Register(fmt.Sprintf("t%d", i), 1000); err != nil {
				b.Fatal(err)
			}
		}
		return tab
	}
	in := placement.Input{Table: fresh(), Members: members}
	b.Run("everything unassigned", func(b *testing.B) {
		for b.Loop() {
			placement.Plan(in, placement.Policy{MaxOps: 1 << 20})
		}
	})
	quiet := in
	quiet.Table = fresh()
	quiet.Table.Apply(1, placement.Plan(in, placement.Policy{MaxOps: 1 << 20}).Ops, all)
	b.Run("nothing to do", func(b *testing.B) {
		for b.Loop() {
			placement.Plan(quiet, placement.Policy{})
		}
	})
}
