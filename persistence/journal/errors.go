package journal

import (
	"errors"
	"fmt"
)

// Bounds that every store keeps.
const (
	// MaxCommandID is the longest command id in bytes.
	MaxCommandID = 256
	// MaxEvent is the largest event payload in bytes.
	MaxEvent = 1 << 20
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

// TooLargeError: an event, snapshot or id is over its bound; nothing was written.
type TooLargeError struct {
	What        string
	Size, Limit int
}

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("journal: %s of %d bytes is over the limit of %d: split it or store a reference", e.What, e.Size, e.Limit)
}
