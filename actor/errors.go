package actor

import (
	"errors"
	"fmt"
)

var (
	// ErrMailboxFull: the actor has its bound of messages queued. The message was
	// not taken; shed load or try again later.
	ErrMailboxFull = errors.New("actor: mailbox full; try again later or raise Props.Mailbox")
	// ErrStopped: the actor takes no messages any more. The message was not, and
	// will not be, handled.
	ErrStopped = errors.New("actor: stopped; the message was not handled")
	// ErrNilMessage: a nil message was refused. Send a value.
	ErrNilMessage = errors.New("actor: nil message refused; send a value")
	// ErrNoReply: the actor began to handle the message of an Ask, and failed,
	// restarted or stopped before it replied. The message may have had effects.
	ErrNoReply = errors.New("actor: no reply; the message may have been handled")
	// ErrNameTaken: a live actor of the system has that name.
	ErrNameTaken = errors.New("actor: name taken; choose another or leave Props.Name empty")
	// ErrShutdown: the system, or the parent of the actor to be spawned, is
	// stopping or has stopped.
	ErrShutdown = errors.New("actor: shutting down; nothing can be spawned any more")
	// ErrNilBehavior: Props.New returned nil.
	ErrNilBehavior = errors.New("actor: Props.New returned a nil behavior")
	// ErrGoexit: code of the behavior ended its goroutine with runtime.Goexit.
	ErrGoexit = errors.New("actor: behavior called runtime.Goexit; return instead")
)

// PanicError is the reason of a failure that was a panic.
type PanicError struct {
	// Value that was given to panic.
	Value any
	// Stack of the goroutine, taken where it panicked.
	Stack []byte
}

// Error gives the value without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("actor: behavior panicked: %v", e.Value) }

// Unwrap gives the value when it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// RestartLimitError is the reason of an actor that was stopped because it failed
// too often. It unwraps to the last failure.
type RestartLimitError struct {
	// MaxRestarts of the Props.
	MaxRestarts int
	// Err is the failure that was one too many.
	Err error
}

// Error names the limit and the last failure.
func (e *RestartLimitError) Error() string {
	return fmt.Sprintf("actor: stopped after a failure beyond max restarts %d: %v", e.MaxRestarts, e.Err)
}

// Unwrap gives the last failure.
func (e *RestartLimitError) Unwrap() error { return e.Err }
