package remote

import (
	"errors"
	"fmt"
)

// ErrQueueFull: the lane's queue is at its bound; nothing was sent.
var ErrQueueFull = errors.New("remote: lane queue is full")

// ErrClosed: the lane is closed or its node is gone; nothing was sent.
var ErrClosed = errors.New("remote: lane is closed")

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
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("remote: %s: %s", e.Code, e.Text) }
