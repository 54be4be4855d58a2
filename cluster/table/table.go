package table

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// Table is the replicated state. It is not safe for concurrent use: the
// replica that owns it provides the lock.
type Table struct {
	// Generation of the cluster, 0 before Form.
	Generation uint64
	// Index of the last applied command.
	Index uint64
	// Settings all members agree on.
	Settings map[string]string
	// Types and their numbers of shards.
	Types map[string]int
	// Shards is the placement of all types.
	Shards *placement.Table

	members map[member.NodeID]member.Member
	expired map[member.NodeID]uint64
}

// Delta is what one command changed.
type Delta struct {
	Index uint64
	// Members that changed, with their new status. Removed ones appear once.
	Members []member.Member
	// Shards that changed.
	Shards []placement.Change
}

// Errors of Apply. The command changed nothing; the index moved on.
var (
	// ErrNotFormed: only Form may come before Form.
	ErrNotFormed = errors.New("table: the cluster has not formed")
	// ErrFormed: a second Form.
	ErrFormed = errors.New("table: the cluster has formed already")
	// ErrUnknownMember: the command names a member that is not in the table.
	ErrUnknownMember = errors.New("table: unknown member")
	// ErrMemberExists: a node id joins only once.
	ErrMemberExists = errors.New("table: member exists already")
	// ErrAddrTaken: a member that is not down holds the address.
	ErrAddrTaken = errors.New("table: address belongs to another member")
	// ErrOwnsShards: a member cannot exit while it owns shards.
	ErrOwnsShards = errors.New("table: member still owns shards")
)

// New returns an empty table.
func New() *Table {
	return &Table{
		Settings: map[string]string{},
		Types:    map[string]int{},
		Shards:   placement.NewTable(),
		members:  map[member.NodeID]member.Member{},
		expired:  map[member.NodeID]uint64{},
	}
}

// Member returns a member by id.
func (t *Table) Member(id member.NodeID) (member.Member, bool) {
	m, ok := t.members[id]
	return m, ok
}

// Members returns all members in address order.
func (t *Table) Members() []member.Member {
	out := slices.Collect(maps.Values(t.members))
	slices.SortFunc(out, func(a, b member.Member) int {
		if c := member.CompareAddr(a.Addr, b.Addr); c != 0 {
			return c
		}
		return member.CompareAge(a, b)
	})
	return out
}

// Expired returns the index of the latest Expire of a member, 0 for none.
func (t *Table) Expired(id member.NodeID) uint64 { return t.expired[id] }

// Apply applies the command at index, which must be above t.Index.
func (t *Table) Apply(index uint64, c Command) (Delta, error) {
	if index <= t.Index {
		return Delta{}, fmt.Errorf("table: index %d is not above %d", index, t.Index)
	}
	t.Index = index
	d := Delta{Index: index}
	if f, ok := c.(Form); ok {
		err := t.form(&d, f) // before d is copied
		return d, err
	}
	if t.Generation == 0 {
		return d, ErrNotFormed
	}
	var err error
	switch c := c.(type) {
	case Join:
		err = t.join(&d, c.Member)
	case SetStatus:
		err = t.setStatus(&d, c)
	case Expire:
		if _, ok := t.members[c.ID]; !ok {
			return d, fmt.Errorf("%w: %s", ErrUnknownMember, c.ID)
		}
		t.expired[c.ID] = index
		d.Shards = t.Shards.Drop(index, c.ID)
	case Place:
		d.Shards = t.Shards.Apply(index, c.Ops, t.eligible)
	default:
		err = fmt.Errorf("table: unknown command %T", c)
	}
	return d, err
}

func (t *Table) form(d *Delta, f Form) error {
	if t.Generation != 0 {
		return ErrFormed
	}
	if f.Generation == 0 || f.Member.ID == "" {
		return errors.New("table: form needs a generation and a member")
	}
	shards := placement.NewTable()
	for _, name := range slices.Sorted(maps.Keys(f.Types)) {
		if err := shards.Register(name, f.Types[name]); err != nil {
			return err
		}
	}
	t.Generation, t.Shards = f.Generation, shards
	t.Settings, t.Types = maps.Clone(f.Settings), maps.Clone(f.Types)
	if t.Settings == nil {
		t.Settings = map[string]string{}
	}
	if t.Types == nil {
		t.Types = map[string]int{}
	}
	m := f.Member
	m.Status, m.JoinedAt = member.Up, d.Index
	t.members[m.ID] = m
	d.Members = append(d.Members, m)
	d.Shards = shards.Rows()
	return nil
}

func (t *Table) join(d *Delta, m member.Member) error {
	if m.ID == "" || m.Addr == "" {
		return errors.New("table: join needs a node id and an address")
	}
	if _, ok := t.members[m.ID]; ok {
		return fmt.Errorf("%w: %s", ErrMemberExists, m.ID)
	}
	for _, have := range t.members {
		if have.Addr == m.Addr && have.Status != member.Down {
			return fmt.Errorf("%w: %s is %s at %s", ErrAddrTaken, have.ID, have.Status, have.Addr)
		}
	}
	m.Status, m.JoinedAt = member.Joining, d.Index
	t.members[m.ID] = m
	d.Members = append(d.Members, m)
	return nil
}

func (t *Table) setStatus(d *Delta, c SetStatus) error {
	m, ok := t.members[c.ID]
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknownMember, c.ID)
	}
	if m.Status == c.Status {
		return nil
	}
	if !m.Status.CanBecome(c.Status) {
		return &member.TransitionError{ID: c.ID, From: m.Status, To: c.Status}
	}
	if n := t.Shards.Owned(c.ID); c.Status == member.Exiting && n > 0 {
		return fmt.Errorf("%w: %s owns %d", ErrOwnsShards, c.ID, n)
	}
	m.Status = c.Status
	t.members[c.ID] = m
	if c.Status == member.Down || c.Status == member.Removed {
		d.Shards = t.Shards.Drop(d.Index, c.ID)
	}
	if c.Status == member.Removed {
		delete(t.members, c.ID)
		delete(t.expired, c.ID)
	}
	d.Members = append(d.Members, m)
	return nil
}

func (t *Table) eligible(id member.NodeID) bool {
	m, ok := t.members[id]
	return ok && m.Status == member.Up
}

// Snapshot is a table as plain values, for the wire.
type Snapshot struct {
	Generation, Index uint64
	Settings          map[string]string
	Types             map[string]int
	Members           []member.Member
	Shards            []placement.Change
	Expired           map[member.NodeID]uint64
}

// Snapshot copies the table.
func (t *Table) Snapshot() Snapshot {
	return Snapshot{
		Generation: t.Generation, Index: t.Index,
		Settings: maps.Clone(t.Settings), Types: maps.Clone(t.Types),
		Members: t.Members(), Shards: t.Shards.Rows(), Expired: maps.Clone(t.expired),
	}
}

// FromSnapshot builds the table of a snapshot.
func FromSnapshot(s Snapshot) (*Table, error) {
	shards, err := placement.Load(s.Shards)
	if err != nil {
		return nil, err
	}
	t := New()
	t.Generation, t.Index, t.Shards = s.Generation, s.Index, shards
	maps.Copy(t.Settings, s.Settings)
	maps.Copy(t.Types, s.Types)
	maps.Copy(t.expired, s.Expired)
	for name, n := range s.Types {
		if got := len(shards.Shards(name)); got != n {
			return nil, fmt.Errorf("table: snapshot has %d shards of %q, its types say %d", got, name, n)
		}
	}
	for _, m := range s.Members {
		if m.ID == "" {
			return nil, errors.New("table: snapshot has a member without id")
		}
		t.members[m.ID] = m
	}
	return t, nil
}
