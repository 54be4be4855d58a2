package journal

import (
	"context"
	"time"
)

// Shard names the unit of fencing: a shard of an entity type.
type Shard struct {
	Type  string
	Index int
}

// Stream names the history of one entity.
type Stream struct {
	Shard
	// ID of the entity, unique within its type.
	ID string
}

// Token is the right to append to the streams of a shard. Tokens of a shard
// are ordered by (Generation, Epoch, Activation).
type Token struct {
	// Generation of the cluster that made the assignment.
	Generation uint64
	// Epoch of the assignment.
	Epoch uint64
	// Activation is counted by the store: every claim adds one.
	Activation uint64
}

// Event is one fact of a stream.
type Event struct {
	// Type is the event's wire name.
	Type string
	// Version of the event's schema, 1 unless the program says otherwise.
	Version uint16
	Payload []byte
}

// Recorded is an event as it was stored.
type Recorded struct {
	Event
	// Seq is the event's place in its stream, from 1.
	Seq uint64
	// Token under which it was written.
	Token Token
	// Time at which the writing node appended it.
	Time time.Time
}

// Command is a command id with its outcome, stored in the same append as the
// events the command caused, so that a repeat gets the recorded reply.
type Command struct {
	// ID chosen by the caller, unique per stream; at most MaxCommandID bytes.
	ID string
	// Hash of the command's method and payload: a repeat with another hash is
	// somebody else's command under the same id.
	Hash [16]byte
	// Reply is the encoded outcome.
	Reply []byte
	// Seq is the stream's last sequence number after the command.
	Seq uint64
	// Time at which it was recorded; kept for the store's retention.
	Time time.Time
}

// Append is one atomic addition to one stream.
type Append struct {
	Stream Stream
	Token  Token
	// Expected is the last sequence number the writer knows, 0 for a new stream.
	Expected uint64
	// Events to add; may be empty when only a command is recorded.
	Events []Event
	// Command to record with them, nil for none.
	Command *Command
	// Snapshot to replace the stream's latest one with, nil for none.
	Snapshot *Snapshot
	// Time to store with the events.
	Time time.Time
}

// Result of one Append. Err is nil, or one of the errors of this package.
type Result struct {
	// Seq is the stream's last sequence number when Err is nil.
	Seq uint64
	Err error
}

// Snapshot is a state from which replay may start.
type Snapshot struct {
	// Seq is the last event the state includes.
	Seq     uint64
	Payload []byte
}

// Page of a stream.
type Page struct {
	Events []Recorded
	// More is true when events after the last one exist.
	More bool
}

// Claim is the arbiter row: the store's record of which generation of a
// cluster may exist.
type Claim struct {
	// Generation is 0 when the cluster has never formed.
	Generation uint64
	// Owner is the node that claimed it.
	Owner string
	// Voters registered for the generation.
	Voters []string
	// Version of the row, for compare-and-set; 0 when there is none.
	Version uint64
}

// Journal is what a store implements. All methods are safe for concurrent use.
type Journal interface {
	// Append adds a batch. Each Append of it is atomic; the batch is not. The
	// result has one entry for each, in order. Stores group what arrives
	// concurrently into one commit.
	Append(ctx context.Context, batch []Append) []Result
	// Read returns events of a stream after the given sequence number, oldest
	// first, at most limit (0 means the store's page size).
	Read(ctx context.Context, s Stream, after uint64, limit int) (Page, error)
	// Snapshot returns the latest snapshot of a stream; ok is false for none.
	Snapshot(ctx context.Context, s Stream) (snap Snapshot, ok bool, err error)
	// Command returns the record of a command id; ok is false for none.
	Command(ctx context.Context, s Stream, id string) (cmd Command, ok bool, err error)
	// Claim takes a shard for (generation, epoch) and returns the token to
	// append with. ErrFenced if a newer claim exists.
	Claim(ctx context.Context, s Shard, generation, epoch uint64, owner string) (Token, error)
	Arbiter
	// Close stops the store after the appends in flight have ended.
	Close() error
}

// Arbiter is the one row per cluster that decides which generation may exist.
type Arbiter interface {
	// ReadClaim returns the row, or a zero Claim when there is none.
	ReadClaim(ctx context.Context, cluster string) (Claim, error)
	// SwapClaim replaces the row if its version is still old, and returns the
	// row as it is afterwards; swapped says whether it is the new one. The
	// store sets the new version.
	SwapClaim(ctx context.Context, cluster string, old uint64, next Claim) (row Claim, swapped bool, err error)
}
