package sharding

import (
	"errors"
	"fmt"
)

// Code says why a call failed. The texts travel on the wire: add only.
type Code string

// Codes.
const (
	// Unavailable: nobody could run it, for example because the shard had no
	// owner or its owner no session until ctx ended. Not run. Try again later.
	Unavailable Code = "unavailable"
	// Overloaded: a mailbox or a hand-off buffer is at its bound. Not run. Slow
	// down and try again.
	Overloaded Code = "overloaded"
	// Timeout: ctx ended before the reply came. May have run.
	Timeout Code = "timeout"
	// Lost: the connection broke, or the owner lost the shard, before the reply
	// came. May have run.
	Lost Code = "lost"
	// UnknownType: this node or the owner hosts no such entity type. Not run.
	// List the type in the configuration of every node.
	UnknownType Code = "unknown-type"
	// UnknownMethod: the owner knows the type but not the method, as an older
	// version may during an update. Not run.
	UnknownMethod Code = "unknown-method"
	// Malformed: the entity id, the command id or the request is not valid. Not run.
	Malformed Code = "malformed"
	// TooLarge: the encoded request is over [MaxPayload]. Not run. A reply over
	// the bound is Failed, since it has run.
	TooLarge Code = "too-large"
	// Rejected: the entity refused by its own rules (see [Reject]). It changed
	// nothing; trying again gets the same answer until the state changes.
	Rejected Code = "rejected"
	// CommandReused: the command id was used before with another payload. Not
	// run. Draw a new id for a new command.
	CommandReused Code = "command-reused"
	// Failed: user code returned an error that is no refusal, or panicked. May
	// have run.
	Failed Code = "failed"
	// Stopped: this node's regions have stopped. Not run.
	Stopped Code = "stopped"
)

// MayHaveRun reports whether the effect of the call is open: it may have
// happened although there is no reply. False means that it certainly changed
// nothing, so that it can be sent again without a command id. A code that this
// version does not know counts as open.
func (c Code) MayHaveRun() bool {
	switch c {
	case Unavailable, Overloaded, UnknownType, UnknownMethod, Malformed, TooLarge, Rejected, CommandReused, Stopped:
		return false
	case Timeout, Lost, Failed:
		return true
	}
	return true
}

// Error is how a call to an entity fails.
type Error struct {
	Code Code
	// Type and ID name the entity.
	Type, ID string
	// Err is the cause: for Rejected it satisfies errors.Is with the sentinel
	// made by [Reject]; for a call that ran into its deadline with ctx.Err().
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("sharding: %s/%s: %s", e.Type, e.ID, e.Code)
	}
	return fmt.Sprintf("sharding: %s/%s: %s: %v", e.Type, e.ID, e.Code, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// MayHaveRun reports whether err says that the call may have taken effect. An
// error that is no *Error counts as open.
func MayHaveRun(err error) bool {
	if err == nil {
		return true
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code.MayHaveRun()
	}
	return true
}

// CodeOf returns the code of an error of this package, "" for any other.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// Errorf makes an *Error for a [Behavior] to return; Type and ID are filled in
// by the region.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

// ErrStop asks the region to drop the entity from memory after this call. Wrap
// it into what Handle returns: errors.Join(err, ErrStop).
var ErrStop = errors.New("sharding: drop the entity from memory")

// Refusal is a domain's answer "no". Two refusals are the same for errors.Is
// when their codes are, also after one has crossed the wire.
//
//nolint:errname // an answer of the domain, "no", and not a failure
type Refusal struct {
	// Code is the stable text that travels and that clients see.
	Code string
	// Text is the whole message, the code unless it was wrapped with more.
	Text string
}

// Reject returns a sentinel for a refusal by the domain. The code is part of
// the program's interface, for example "insufficient-funds". More detail is
// added by wrapping: fmt.Errorf("%w: %d missing", ErrShort, n).
func Reject(code string) error { return &Refusal{Code: code, Text: code} }

// Error implements error.
func (r *Refusal) Error() string { return r.Text }

// Is makes refusals with the same code equal for errors.Is.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Code == r.Code
}

// AsRefusal returns the refusal in err: its code, and the whole text of the
// wrapped error as Text.
func AsRefusal(err error) (Refusal, bool) {
	r, ok := errors.AsType[*Refusal](err)
	if !ok {
		return Refusal{}, false
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Err != nil {
		err = e.Err
	}
	return Refusal{Code: r.Code, Text: err.Error()}, true
}

// Causes of errors of this package, for their texts.
var (
	errStopped     = errors.New("this node's regions have stopped")
	errLate        = errors.New("it came back too late to be sent in order")
	errOwnerLost   = errors.New("the owner lost the shard before it replied")
	errStartedLate = errors.New("the owner lost its session or the shard while the entity started")
	errWithheld    = errors.New("the owner lost its session or the shard while it ran")
	errAbandoned   = errors.New("the entity did not stop in time and was abandoned")
	errMailbox     = errors.New("the entity's mailbox is full: slow down or raise Mailbox")
	errActor       = errors.New("the entity's actor ended while the call was queued")
	errExpired     = errors.New("the deadline passed before the entity came to it")
	errStart       = errors.New("entity asked to be stopped while it started")
)
