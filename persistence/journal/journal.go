package journal

import (
	"cmp"
	"context"
	"strconv"
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
	// Activation is counted by the store: every claim adds one. It separates two
	// activations of one shard on one node, between which an old write may be
	// on its way.
	Activation uint64
}

// Compare orders tokens of one shard: negative when t is older than u.
func (t Token) Compare(u Token) int {
	return cmp.Or(cmp.Compare(t.Generation, u.Generation), cmp.Compare(t.Epoch, u.Epoch), cmp.Compare(t.Activation, u.Activation))
}

// Admits reports whether a claim for (generation, epoch) may replace t.
func (t Token) Admits(generation, epoch uint64) bool {
	return cmp.Or(cmp.Compare(generation, t.Generation), cmp.Compare(epoch, t.Epoch)) >= 0
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
	// Reply is the encoded outcome, at most MaxEvent bytes.
	Reply []byte
	// Seq is the stream's last sequence number after the command. The store
	// sets it.
	Seq uint64
	// Time is that of the Append, set by the store, which keeps the record for
	// its retention from then on.
	Time time.Time
}

// Append is one atomic addition to one stream. A store checks it in this
// order and reports the first that fails: its form (TooLargeError,
// InvalidError), the token (FencedError), the command id (DuplicateError), the
// expected sequence number (ConflictError).
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
	// Time to store with the events; the zero time means now.
	Time time.Time
}

// Size is about how many bytes the append adds to a store.
func (a *Append) Size() int {
	n := len(a.Stream.ID)
	for i := range a.Events {
		n += len(a.Events[i].Payload) + len(a.Stream.ID) + 64
	}
	if a.Command != nil {
		n += len(a.Command.ID) + len(a.Command.Reply) + 64
	}
	if a.Snapshot != nil {
		n += len(a.Snapshot.Payload)
	}
	return n
}

// Check reports the first bound of this package that the append breaks, as a
// *TooLargeError or *InvalidError. Every store calls it first.
func (a *Append) Check() error {
	if err := a.Stream.Check(); err != nil {
		return err
	}
	if len(a.Events) > MaxEvents {
		return &TooLargeError{What: "append, counted in events,", Size: len(a.Events), Limit: MaxEvents}
	}
	if len(a.Events) == 0 && a.Command == nil && a.Snapshot == nil {
		return &InvalidError{Field: "append", Reason: "is empty: give it events, a command or a snapshot"}
	}
	for i := range a.Events {
		e := &a.Events[i]
		switch {
		case e.Type == "":
			return &InvalidError{Field: "event type", Reason: "must not be empty"}
		case len(e.Type) > MaxName:
			return &TooLargeError{What: "event type", Size: len(e.Type), Limit: MaxName}
		case len(e.Payload) > MaxEvent:
			return &TooLargeError{What: "event " + strconv.Quote(e.Type), Size: len(e.Payload), Limit: MaxEvent}
		}
	}
	if c := a.Command; c != nil {
		switch {
		case c.ID == "":
			return &InvalidError{Field: "command id", Reason: "must not be empty"}
		case len(c.ID) > MaxCommandID:
			return &TooLargeError{What: "command id", Size: len(c.ID), Limit: MaxCommandID}
		case len(c.Reply) > MaxEvent:
			return &TooLargeError{What: "recorded reply", Size: len(c.Reply), Limit: MaxEvent}
		}
	}
	if s := a.Snapshot; s != nil {
		if len(s.Payload) > MaxSnapshot {
			return &TooLargeError{What: "snapshot", Size: len(s.Payload), Limit: MaxSnapshot}
		}
		if s.Seq == 0 || s.Seq > a.Expected+uint64(len(a.Events)) {
			return &InvalidError{Field: "snapshot seq", Reason: "must be one of the events up to the end of this append"}
		}
	}
	return nil
}

// Check reports a stream name that is empty or over its bound.
func (s Stream) Check() error {
	if s.ID == "" {
		return &InvalidError{Field: "stream id", Reason: "must not be empty"}
	}
	if len(s.ID) > MaxStreamID {
		return &TooLargeError{What: "stream id", Size: len(s.ID), Limit: MaxStreamID}
	}
	return s.Shard.Check()
}

// Check reports a shard name that is empty or over its bound.
func (s Shard) Check() error {
	switch {
	case s.Type == "":
		return &InvalidError{Field: "entity type", Reason: "must not be empty"}
	case len(s.Type) > MaxName:
		return &TooLargeError{What: "entity type", Size: len(s.Type), Limit: MaxName}
	case s.Index < 0:
		return &InvalidError{Field: "shard", Reason: "must not be negative"}
	}
	return nil
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
	Streams
	Arbiter
	// Close stops the store after the appends in flight have ended. Calls that
	// come later return ErrClosed. Closing again changes nothing.
	Close() error
}

// Streams are the histories of entities.
type Streams interface {
	// Append adds a batch. Each Append of it is atomic; the batch is not. The
	// result has one entry for each, in order. Stores group what arrives
	// concurrently into one commit. A ctx that ends before the write began gives
	// ErrUnavailable with the cause (nothing written), one that ends during the
	// write ErrUnknown. The caller must not change what it passed until Append
	// returned, and after ErrUnknown never again.
	Append(ctx context.Context, batch []Append) []Result
	// Read returns events of a stream after the given sequence number, oldest
	// first, at most limit (0 means MaxPage, which is also the most). A page may
	// end early, with More set, when it is large.
	Read(ctx context.Context, s Stream, after uint64, limit int) (Page, error)
	// Snapshot returns the latest snapshot of a stream; ok is false for none.
	Snapshot(ctx context.Context, s Stream) (snap Snapshot, ok bool, err error)
	// Command returns the record of a command id; ok is false for none.
	Command(ctx context.Context, s Stream, id string) (cmd Command, ok bool, err error)
	// Claim takes a shard for (generation, epoch) and returns the token to
	// append with. *FencedError if a newer claim exists. After an ErrUnknown the
	// caller claims again: that fences its own lost claim.
	Claim(ctx context.Context, s Shard, generation, epoch uint64, owner string) (Token, error)
}

// Arbiter is the one row per cluster that decides which generation may exist.
type Arbiter interface {
	// ReadClaim returns the row, or a zero Claim when there is none.
	ReadClaim(ctx context.Context, cluster string) (Claim, error)
	// SwapClaim replaces the row if its version is still old, and returns the
	// row as it is afterwards; swapped says whether it is the new one. The
	// store sets the new version. An error other than ErrUnknown means that the
	// row is unchanged.
	SwapClaim(ctx context.Context, cluster string, old uint64, next Claim) (row Claim, swapped bool, err error)
}
