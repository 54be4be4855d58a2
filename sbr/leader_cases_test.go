package sbr

import (
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
)

type leaderCase struct {
	ID      string `json:"id"`
	Self    string `json:"self"`
	Members []struct {
		N      string `json:"n"`
		Status string `json:"status"`
		DC     string `json:"dc"`
	} `json:"members"`
	Unreachable [][2]string `json:"unreachable"`
	Expect      *string     `json:"expect"`
}

func TestTheLeaderIsThatOfTheRows(t *testing.T) {
	var file struct {
		Rows []leaderCase `json:"leader_cases"`
	}
	readCases(t, "membership.json", &file)
	someRows(t, "leader_cases", len(file.Rows))
	for _, c := range file.Rows {
		t.Run(c.ID, func(t *testing.T) {
			v := View{Self: member.NodeID(c.Self)}
			for _, m := range c.Members {
				v.Members = append(v.Members, fixture{}.member(t, caseMember{M: m.N, Status: m.Status, DC: m.DC}))
			}
			v.Unreachable = UnreachableOf(v.Members, records(c.Unreachable))
			want := ""
			if c.Expect != nil {
				want = *c.Expect
			}
			got, ok := Leader(v)
			if string(got) != want || ok != (want != "") {
				t.Errorf("leader got %q, want %q", got, want)
			}
		})
	}
}

func TestMembersLeadInTheOrderOfTheRows(t *testing.T) {
	var file struct {
		Rows []struct {
			ID    string      `json:"id"`
			Input [][2]string `json:"input"`
			Want  []string    `json:"expect"`
		} `json:"leader_status_order"`
	}
	readCases(t, "membership.json", &file)
	someRows(t, "leader_status_order", len(file.Rows))
	for _, c := range file.Rows {
		t.Run(c.ID, func(t *testing.T) {
			var members []Member
			for _, in := range c.Input {
				m := fixture{}.member(t, caseMember{M: in[0], Status: in[1]})
				m.Addr = "host:" + in[0]
				members = append(members, m)
			}
			slices.SortFunc(members, compareLeadership)
			var got []string
			for _, m := range members {
				got = append(got, string(m.ID))
			}
			if !slices.Equal(got, c.Want) {
				t.Errorf("order got %v, want %v", got, c.Want)
			}
		})
	}
}
