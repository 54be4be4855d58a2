package placement

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// State of a shard. The numbers travel on the wire: add only at the end.
type State uint8

// States of a shard.
const (
	// Unassigned shards have no owner; regions buffer for them.
	Unassigned State = iota
	// Running shards are executed by their owner.
	Running
	// Moving shards still belong to their owner, which is draining them.
	Moving
)

// String returns the lower-case name of the state.
func (s State) String() string {
	switch s {
	case Unassigned:
		return "unassigned"
	case Running:
		return "running"
	case Moving:
		return "moving"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Shard is one row of the table.
type Shard struct {
	State State
	// Owner executes the shard while Running or Moving, "" when Unassigned.
	Owner member.NodeID
	// Epoch is the table index of the command that made Owner the owner.
	Epoch uint64
	// To is the planned next owner while Moving, or while Unassigned after a
	// release; it is a wish, and may be gone by the time it matters.
	To member.NodeID
	// Since is the table index of the last change of this row.
	Since uint64
}

// Key names a shard of an entity type.
type Key struct {
	Type  string
	Shard int
}

// String returns "type/shard".
func (k Key) String() string { return fmt.Sprintf("%s/%d", k.Type, k.Shard) }

// Change is a row after a command has changed it.
type Change struct {
	Key
	Row Shard
}

// Op is one change that the coordinator or an owner proposes. Exactly one kind
// of Op exists per transition, and an Op that no longer fits the row it names
// (another command came first) changes nothing.
type Op struct {
	Kind OpKind
	Key  Key
	// Node is the new owner (Assign) or the planned one (BeginMove).
	Node member.NodeID
	// Epoch is the epoch the proposer saw (BeginMove, Release).
	Epoch uint64
}

// OpKind says which transition an Op proposes. The numbers travel on the wire.
type OpKind uint8

// Kinds of Op.
const (
	// Assign gives an Unassigned shard to Node.
	Assign OpKind = 1 + iota
	// BeginMove turns Running at Epoch into Moving towards Node.
	BeginMove
	// Release says that the owner at Epoch has stopped: Moving or Running
	// becomes Unassigned with To kept.
	Release
)

// Table holds the shards of every registered entity type. It is not safe for
// concurrent use; the replica that owns it provides the lock.
type Table struct {
	types map[string][]Shard
}

// NewTable returns a table without types.
func NewTable() *Table { return &Table{types: map[string][]Shard{}} }

// ErrShardCount reports a registration with another number of shards than the
// table already has for that type.
var ErrShardCount = errors.New("placement: entity type is registered with another number of shards")

// MaxShards bounds the number of shards of a type.
const MaxShards = 1 << 16

// Register adds a type with n unassigned shards. Registering it again with the
// same n changes nothing.
func (t *Table) Register(name string, n int) error {
	if name == "" || n < 1 || n > MaxShards {
		return fmt.Errorf("placement: type %q with %d shards: the name must not be empty and shards must be 1..%d", name, n, MaxShards)
	}
	if have, ok := t.types[name]; ok {
		if len(have) != n {
			return fmt.Errorf("%w: type %q has %d, not %d", ErrShardCount, name, len(have), n)
		}
		return nil
	}
	t.types[name] = make([]Shard, n)
	return nil
}

// Types returns the registered types, sorted.
func (t *Table) Types() []string { return slices.Sorted(maps.Keys(t.types)) }

// Shards returns the rows of a type, nil when it is not registered. The caller
// must not change or keep the slice.
func (t *Table) Shards(name string) []Shard { return t.types[name] }

// Get returns the row of a shard.
func (t *Table) Get(k Key) (Shard, bool) {
	rows := t.types[k.Type]
	if k.Shard < 0 || k.Shard >= len(rows) {
		return Shard{}, false
	}
	return rows[k.Shard], true
}

// Owned counts the shards that a node owns, over all types.
func (t *Table) Owned(id member.NodeID) int {
	n := 0
	for _, rows := range t.types {
		for i := range rows {
			if rows[i].Owner == id && rows[i].State != Unassigned {
				n++
			}
		}
	}
	return n
}

// Apply applies ops at table index and returns the rows that changed.
// eligible reports whether a node may be given shards now. Ops that no longer
// fit are skipped: the coordinator plans again from the table.
func (t *Table) Apply(index uint64, ops []Op, eligible func(member.NodeID) bool) []Change {
	var out []Change
	for _, op := range ops {
		rows := t.types[op.Key.Type]
		if op.Key.Shard < 0 || op.Key.Shard >= len(rows) {
			continue
		}
		row := &rows[op.Key.Shard]
		switch op.Kind {
		case Assign:
			if row.State != Unassigned || !eligible(op.Node) {
				continue
			}
			*row = Shard{State: Running, Owner: op.Node, Epoch: index, Since: index}
		case BeginMove:
			if row.State != Running || row.Epoch != op.Epoch || row.Owner == op.Node || !eligible(op.Node) {
				continue
			}
			row.State, row.To, row.Since = Moving, op.Node, index
		case Release:
			if row.State == Unassigned || row.Epoch != op.Epoch {
				continue
			}
			*row = Shard{State: Unassigned, Epoch: row.Epoch, To: row.To, Since: index}
		default:
			continue
		}
		out = append(out, Change{Key: op.Key, Row: *row})
	}
	return out
}

// Drop takes every shard from a node whose session is over (expired, downed or
// removed) and returns the rows that changed. Moves towards the node lose
// their wish but go on: the owner is draining already.
func (t *Table) Drop(index uint64, id member.NodeID) []Change {
	var out []Change
	for _, name := range t.Types() {
		rows := t.types[name]
		for i := range rows {
			row := &rows[i]
			switch {
			case row.Owner == id && row.State != Unassigned:
				to := row.To
				if to == id {
					to = ""
				}
				*row = Shard{State: Unassigned, Epoch: row.Epoch, To: to, Since: index}
			case row.To == id:
				row.To, row.Since = "", index
			default:
				continue
			}
			out = append(out, Change{Key: Key{Type: name, Shard: i}, Row: *row})
		}
	}
	return out
}

// Rows returns every row in order of type and shard, for snapshots.
func (t *Table) Rows() []Change {
	var out []Change
	for _, name := range t.Types() {
		for i, row := range t.types[name] {
			out = append(out, Change{Key: Key{Type: name, Shard: i}, Row: row})
		}
	}
	return out
}

// Load fills an empty table from the rows of a snapshot.
func Load(rows []Change) (*Table, error) {
	sizes := map[string]int{}
	for _, c := range rows {
		if c.Shard < 0 || c.Shard >= MaxShards {
			return nil, fmt.Errorf("placement: snapshot row %s: shard out of range", c.Key)
		}
		sizes[c.Type] = max(sizes[c.Type], c.Shard+1)
	}
	t := NewTable()
	for name, n := range sizes {
		if err := t.Register(name, n); err != nil {
			return nil, err
		}
	}
	for _, c := range rows {
		t.types[c.Type][c.Shard] = c.Row
	}
	return t, nil
}

// CompareKeys orders keys by type, then shard.
func CompareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Shard, b.Shard))
}
