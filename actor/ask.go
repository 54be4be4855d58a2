package actor

import (
	"context"
	"fmt"
	"sync/atomic"
)

// bell wakes one asker. It is pooled, empty.
type bell chan struct{}

// States of a pending ask. Whoever moves it away from waiting decides its outcome.
const (
	askWaiting uint32 = iota
	askAnswered
	askAbandoned
)

// pending is an ask whose answer is not there yet. It is never used again, so a
// late or second reply finds its state taken and does nothing.
type pending struct {
	state atomic.Uint32
	// begun: the actor has begun to handle the message.
	begun atomic.Bool
	// prev and next link the asks of one actor, under its lock.
	prev, next *pending
	bell       bell
	err        error
}

// fail answers with err, when nobody has answered.
func (p *pending) fail(err error) {
	if p.state.CompareAndSwap(askWaiting, askAnswered) {
		p.err = err
		p.bell <- struct{}{}
	}
}

type ask[R any] struct {
	pending
	val R
}

func (a *ask[R]) reply(r R, err error) {
	if a.state.CompareAndSwap(askWaiting, askAnswered) {
		a.val, a.err = r, err
		a.bell <- struct{}{} // has room: there is one answer
	}
}

// Ask sends the message that build makes around reply, and waits for the reply.
// The only deadline is that of ctx. Reply may be called from anywhere, at any
// time: the first call counts, and any after Ask has returned do nothing.
//
// Errors: those of Tell (the message was not handled); ErrStopped also when the
// actor ended before it came to the message; ErrNoReply when it failed, restarted
// or ended after that; the cause of ctx, when the message may or may not have been
// handled; and whatever error was replied.
func Ask[M, R any](ctx context.Context, ref Ref[M], build func(reply func(R, error)) M) (R, error) {
	var none R
	if ref.c == nil {
		return none, ErrStopped
	}
	if ctx.Err() != nil {
		return none, fmt.Errorf("actor: ask not sent to %s: %w", ref.Name(), context.Cause(ctx))
	}
	s := ref.c.system
	b, ok := s.bells.Get().(bell)
	if !ok {
		b = make(bell, 1)
	}
	a := &ask[R]{pending: pending{bell: b}}
	m := build(a.reply)
	if err := ref.c.put(m, &a.pending); err != nil {
		// Reply may be out there already, or even have rung.
		if !a.state.CompareAndSwap(askWaiting, askAbandoned) {
			<-b
		}
		s.bells.Put(b)
		return none, err
	}
	select {
	case <-b:
	case <-ctx.Done():
		if a.state.CompareAndSwap(askWaiting, askAbandoned) {
			ref.c.forget(&a.pending)
			s.bells.Put(b)
			return none, fmt.Errorf("actor: no reply from %s: %w", ref.Name(), context.Cause(ctx))
		}
		<-b // an answer is being written
	}
	ref.c.forget(&a.pending)
	s.bells.Put(b)
	return a.val, a.err
}
