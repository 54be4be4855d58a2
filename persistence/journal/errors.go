package journal

import (
	"errors"
	"fmt"
)

// Bounds that every store keeps.
const (
	// MaxCommandID is the longest command id in bytes.
	MaxCommandID = 256
	// MaxEvent is the largest event payload, and the largest recorded reply, in
	// bytes.
	MaxEvent = 1 << 20
	// MaxSnapshot is the largest snapshot payload in bytes.
	MaxSnapshot = 8 << 20
	// MaxEvents is the largest number of events in one Append.
	MaxEvents = 1000
	// MaxStreamID is the longest entity id in bytes.
	MaxStreamID = 512
	// MaxName is the longest entity type or event type in bytes.
	MaxName = 128
	// MaxPage is the largest number of events in one Page.
	MaxPage = 1000
	// MaxPageBytes ends a Page early: it holds the event that passes the mark
	// and no further one.
	MaxPageBytes = 4 << 20
)

// ErrUnavailable: the store could not be reached or is full; nothing was
// written. The caller may retry.
var ErrUnavailable = errors.New("journal: store unavailable")

// ErrUnknown: the outcome of a write is not known; it may have been written.
// The caller must read the stream again before it writes to it.
var ErrUnknown = errors.New("journal: outcome of the write is unknown")

// ErrClosed: the store was closed; nothing was written.
var ErrClosed = errors.New("journal: store is closed")

// FencedError: a newer token exists for the shard. The writer is no longer
// the owner and must stop the shard.
type FencedError struct {
	Shard   Shard
	Held    Token
	Current Token
}

// Error implements error.
func (e *FencedError) Error() string {
	return fmt.Sprintf("journal: shard %s/%d is fenced: held generation %d epoch %d activation %d, current is %d/%d/%d",
		e.Shard.Type, e.Shard.Index, e.Held.Generation, e.Held.Epoch, e.Held.Activation,
		e.Current.Generation, e.Current.Epoch, e.Current.Activation)
}

// ConflictError: the stream is not where the writer thinks it is. The entity
// must be stopped and loaded again.
type ConflictError struct {
	Stream   Stream
	Expected uint64
	Actual   uint64
}

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("journal: stream %s/%s is at %d, not at %d", e.Stream.Type, e.Stream.ID, e.Actual, e.Expected)
}

// DuplicateError: the command id is recorded already. Nothing was written;
// Recorded holds the reply to give.
type DuplicateError struct {
	Stream   Stream
	Recorded Command
}

// Error implements error.
func (e *DuplicateError) Error() string {
	return fmt.Sprintf("journal: command %q of %s/%s is recorded at %d", e.Recorded.ID, e.Stream.Type, e.Stream.ID, e.Recorded.Seq)
}

// InvalidError: an append or claim is malformed, which is a mistake of the
// program that a retry does not mend; nothing was written.
type InvalidError struct {
	Field, Reason string
}

// Error implements error.
func (e *InvalidError) Error() string {
	return fmt.Sprintf("journal: %s %s", e.Field, e.Reason)
}

// TooLargeError: an event, snapshot or id is over its bound; nothing was written.
type TooLargeError struct {
	What        string
	Size, Limit int
}

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("journal: %s of %d bytes is over the limit of %d: split it or store a reference", e.What, e.Size, e.Limit)
}
