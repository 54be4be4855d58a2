package table

import (
	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// Command changes the table. The implementations are the structs of this file.
type Command interface{ command() }

// Form is the first command of a generation.
type Form struct {
	Generation uint64
	// Settings that every member must share, by name.
	Settings map[string]string
	// Types of entities and their numbers of shards.
	Types map[string]int
	// Member that forms the cluster; it is Up at once.
	Member member.Member
}

// Join accepts a member as Joining.
type Join struct{ Member member.Member }

// SetStatus moves a member along its life.
type SetStatus struct {
	ID     member.NodeID
	Status member.Status
}

// Expire declares that the member's session is over: its shards become
// unassigned. A later session of the member is valid only once the member has
// applied this command.
type Expire struct{ ID member.NodeID }

// Place applies placement ops.
type Place struct{ Ops []placement.Op }

func (Form) command()      {}
func (Join) command()      {}
func (SetStatus) command() {}
func (Expire) command()    {}
func (Place) command()     {}
