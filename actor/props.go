package actor

import (
	"errors"
	"fmt"
	"time"
)

// Defaults and limits of Props.
const (
	// DefaultMailbox is the number of messages that may wait for an actor.
	DefaultMailbox = 1000
	// MaxMailbox is the largest bound that may be asked for.
	MaxMailbox = 1 << 24
	// DefaultWithin is the time over which failures are counted.
	DefaultWithin = time.Minute
	// MaxMaxRestarts is the largest number of restarts that may be asked for; the
	// actor remembers the time of each.
	MaxMaxRestarts = 1000
)

// Behavior handles the messages of one actor, one at a time. An error or a panic
// is a failure: the behavior is thrown away, and Props says what comes next.
type Behavior[M any] interface {
	Receive(ctx *Context[M], m M) error
}

// Starter is a Behavior that wants to run before its first message. It runs in
// the actor's own goroutine, so it may wait. An error is a failure.
type Starter[M any] interface {
	Started(ctx *Context[M]) error
}

// Stopper is a Behavior that wants to run after its last message: when the actor
// stops and, on the failed behavior, when it restarts. The children have ended by
// then. It runs once, and only when Started, if there is one, has returned nil.
type Stopper[M any] interface {
	Stopped(ctx *Context[M])
}

// Props says how to make an actor and what becomes of it.
type Props[M any] struct {
	// Name under which the actor is logged and reported, unique in its system
	// among live actors; a child's name is put behind its parent's and a slash.
	// Defaults to a short generated one.
	Name string
	// New makes a behavior: in Spawn, by the caller, and again at each restart, in
	// the actor's goroutine. It must not wait. Required.
	New func() Behavior[M]
	// Mailbox is the bound of queued messages. Defaults to DefaultMailbox.
	Mailbox int
	// MaxRestarts is how many failures Within are answered with a restart; the
	// next one stops the actor. Defaults to 0: the first failure stops it.
	MaxRestarts int
	// Within is the time over which failures are counted. Defaults to DefaultWithin.
	Within time.Duration
	// Stopped is called once, when the actor has ended: with nil after a wanted
	// stop, else with the failure (*RestartLimitError). Optional.
	Stopped func(reason error)
	// Undelivered is called with each message that was queued when the actor
	// ended, in order, before Stopped. Optional.
	Undelivered func(m M)
}

// Validate reports all problems at once.
func (p Props[M]) Validate() error {
	var errs []error
	if p.New == nil {
		errs = append(errs, errors.New("actor: Props.New is nil; give a function that makes the behavior"))
	}
	if p.Mailbox < 0 || p.Mailbox > MaxMailbox {
		errs = append(errs, fmt.Errorf("actor: Props.Mailbox is %d; use 1 to %d, or 0 for %d", p.Mailbox, MaxMailbox, DefaultMailbox))
	}
	if p.MaxRestarts < 0 || p.MaxRestarts > MaxMaxRestarts {
		errs = append(errs, fmt.Errorf("actor: Props.MaxRestarts is %d; use 0 to %d", p.MaxRestarts, MaxMaxRestarts))
	}
	if p.Within < 0 {
		errs = append(errs, fmt.Errorf("actor: Props.Within is %s; use a positive duration, or 0 for %s", p.Within, DefaultWithin))
	}
	return errors.Join(errs...)
}

func (p Props[M]) withDefaults() Props[M] {
	if p.Mailbox == 0 {
		p.Mailbox = DefaultMailbox
	}
	if p.Within == 0 {
		p.Within = DefaultWithin
	}
	return p
}
