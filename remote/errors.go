package remote

import (
	"errors"
	"fmt"
)

// ErrQueueFull: the lane's queue is at its bound; nothing was sent. Wait with
// [Lane.WaitRoom] or give the message up.
var ErrQueueFull = errors.New("remote: lane queue is full")

// ErrClosed: the lane is closed or its node is gone; nothing was sent. Look the
// owner up again.
var ErrClosed = errors.New("remote: lane is closed")

// ErrNotRunning: the transport is not running (any more); nothing was sent.
var ErrNotRunning = errors.New("remote: the transport is not running")

// Code says what went wrong with an ask. The texts travel on the wire.
type Code string

// Codes.
const (
	// CodeTimeout: no reply before the deadline; the message may have been handled.
	CodeTimeout Code = "timeout"
	// CodeLaneLost: the connection broke after the message was sent; it may
	// have been handled.
	CodeLaneLost Code = "lane-lost"
	// CodeNotSent: the message never left this node.
	CodeNotSent Code = "not-sent"
	// CodeNoService: the receiver knows no such service; not handled.
	CodeNoService Code = "no-service"
	// CodeMalformed: the receiver could not decode the message; not handled.
	CodeMalformed Code = "malformed"
	// CodeTooLarge: the message is over the bound; not sent.
	CodeTooLarge Code = "too-large"
	// CodeHandler: the handler refused it; its text says why.
	CodeHandler Code = "handler"
)

// MayHaveRun reports whether the receiver may have handled the message.
func (c Code) MayHaveRun() bool { return c == CodeTimeout || c == CodeLaneLost || c == CodeHandler }

// Error is the failure of an ask.
type Error struct {
	Code Code
	Text string
	// Err is the local cause, such as [ErrClosed]; nil when there is none. It
	// does not travel.
	Err error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("remote: %s: %s", e.Code, e.Text) }

// Unwrap returns the local cause.
func (e *Error) Unwrap() error { return e.Err }

// AsError returns err as an [*Error] the way a reply carries it over the wire:
// an *Error inside err keeps its code, any other error gets CodeHandler.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Code: e.Code, Text: e.Text}
	}
	return &Error{Code: CodeHandler, Text: err.Error()}
}

// RefusedError says that the other side of a new connection answered and would
// not have it.
type RefusedError struct {
	// Refusal is one of the Refusal constants.
	Refusal Refusal
	Text    string
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("remote: connection refused: %s: %s", e.Refusal, e.Text)
}

// Refusal is the reason why a node would not have a connection. The texts
// travel on the wire.
type Refusal string

// Refusals.
const (
	// RefusedNode: another incarnation lives at the address. It proves that the
	// one meant is dead.
	RefusedNode Refusal = "wrong-node"
	// RefusedCluster: the node belongs to a cluster of another name.
	RefusedCluster Refusal = "wrong-cluster"
	// RefusedProtocol: the node speaks another version of the protocol.
	RefusedProtocol Refusal = "wrong-protocol"
	// RefusedGeneration: the node is in another generation of the cluster.
	RefusedGeneration Refusal = "wrong-generation"
	// RefusedPurpose: nothing on the node accepts streams of that purpose.
	RefusedPurpose Refusal = "wrong-purpose"
	// RefusedMalformed: the hello lacks something it needs.
	RefusedMalformed Refusal = "malformed"
	// RefusedBusy: a bound is reached; try again later.
	RefusedBusy Refusal = "busy"
	// RefusedClosing: the node is shutting down.
	RefusedClosing Refusal = "closing"
)
