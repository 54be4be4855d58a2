package bootstrap

import (
	"cmp"
	"slices"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// Seed is a member through which others can join.
type Seed struct {
	ID member.NodeID `json:"id"`
	// Addr is the host:port of its cluster listener.
	Addr string `json:"addr"`
	// Status as member.Status prints it.
	Status string `json:"status"`
}

// MaxSeeds bounds the seeds of one answer.
const MaxSeeds = 5

// SeedsOf picks the members of a view to name as seeds: at most MaxSeeds, those
// that are Up first, the oldest first, because they stay longest. Exiting, down
// and removed members are not named.
func SeedsOf(v member.View) []Seed {
	members := slices.DeleteFunc(slices.Clone(v.Members), func(m member.Member) bool { return seedRank(m.Status) == seedNever })
	slices.SortFunc(members, func(a, b member.Member) int {
		return cmp.Or(cmp.Compare(seedRank(a.Status), seedRank(b.Status)), member.CompareAge(a, b))
	})
	seeds := []Seed{}
	for _, m := range members[:min(len(members), MaxSeeds)] {
		seeds = append(seeds, Seed{ID: m.ID, Addr: m.Addr, Status: m.Status.String()})
	}
	return seeds
}

// seedNever is the rank of members that are not named.
const seedNever = 3

// seedRank orders statuses by how useful a member is to join through.
func seedRank(s member.Status) int {
	switch s {
	case member.Up:
		return 0
	case member.Joining:
		return 1
	case member.Leaving:
		return 2
	case member.Exiting, member.Down, member.Removed:
	}
	return seedNever
}

// rank is seedRank by the text of the status; unknown texts come last.
func (s Seed) rank() int {
	for _, status := range []member.Status{member.Up, member.Joining, member.Leaving} {
		if s.Status == status.String() {
			return seedRank(status)
		}
	}
	return seedNever
}
