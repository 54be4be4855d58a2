package actor

import (
	"context"
	"fmt"
	"log/slog"
)

// Ref is how others know an actor: one word, comparable, safe for concurrent use.
// The zero Ref is an actor that has stopped. A Ref keeps a little memory of its
// actor alive, but nothing of the behavior after it has ended.
type Ref[M any] struct{ c *cell[M] }

// Tell queues m and never blocks. Messages of one sender are handled in order.
// Errors: ErrMailboxFull, ErrStopped, ErrNilMessage (a nil interface, pointer,
// map, func or channel). Without error the message is handled, or counted in
// System.DeadLetters.
func (r Ref[M]) Tell(m M) error {
	if r.c == nil {
		return ErrStopped
	}
	return r.c.put(m, nil)
}

// Stop ends the actor after its current message, and its children before it. What
// is queued becomes dead letters. Stop does not wait, see Wait.
func (r Ref[M]) Stop() {
	if r.c != nil {
		r.c.stop()
	}
}

// Drain refuses new messages, has all queued ones handled, stops the actor and
// waits for its end. When ctx ends first, Drain returns and the actor goes on
// draining; Stop cuts that short. An actor must not drain itself: it would wait
// for its own message to end.
func (r Ref[M]) Drain(ctx context.Context) error {
	if r.c != nil {
		r.c.mark(flagDraining)
	}
	return r.Wait(ctx)
}

// Done is closed when the actor has ended. It costs the actor a channel, made at
// the first call.
func (r Ref[M]) Done() <-chan struct{} {
	if r.c == nil {
		return closedChan()
	}
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if x := r.c.rare; x != nil && x.done != nil {
		return x.done
	}
	if r.c.flags.Load()&flagEnded != 0 {
		return closedChan()
	}
	x := r.c.extra()
	x.done = make(chan struct{})
	return x.done
}

// Wait returns when the actor has ended, or with the cause of ctx.
func (r Ref[M]) Wait(ctx context.Context) error {
	select {
	case <-r.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("actor: %s has not ended: %w", r.Name(), context.Cause(ctx))
	}
}

// Err is why the actor ended: nil while it lives and after a wanted stop.
func (r Ref[M]) Err() error {
	if r.c == nil || r.c.flags.Load()&flagEnded == 0 {
		return nil
	}
	return r.c.reason()
}

// Queued is how many messages wait.
func (r Ref[M]) Queued() int {
	if r.c == nil {
		return 0
	}
	return r.c.UserMessageCount()
}

// Name of the actor, for logs.
func (r Ref[M]) Name() string {
	if r.c == nil {
		return ""
	}
	return r.c.name()
}

// String gives the name.
func (r Ref[M]) String() string { return r.Name() }

func closedChan() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

// Context is what a behavior may use while it handles a message. It must not be
// kept beyond the call.
type Context[M any] cell[M]

func (x *Context[M]) cell() *cell[M] { return (*cell[M])(x) }

// Self is the actor's own Ref, which may be kept and given away.
func (x *Context[M]) Self() Ref[M] { return Ref[M]{x.cell()} }

// System of the actor.
func (x *Context[M]) System() *System { return x.system }

// Logger of the system.
func (x *Context[M]) Logger() *slog.Logger { return x.system.logger }

// Name of the actor.
func (x *Context[M]) Name() string { return x.cell().name() }

// Stop ends the actor after this message.
func (x *Context[M]) Stop() { x.cell().stop() }
