package sharding

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/internal/wire"
)

// entity is one entity in memory. It stays in its shard's map from the first
// call until it is idle, with nothing queued, under the slot's lock: so no call
// is lost between passivation and the next call.
type entity struct {
	host *host
	id   string
	ref  entityRef
	// behavior belongs to the actor's goroutine; nil when the entity is to be
	// started by its next call.
	behavior Behavior
	// failure of the last start, for the calls that waited for it.
	failure *startFailure
	// touched: a call has ended since the last sweep.
	touched atomic.Bool
	// queued counts calls that wait or run.
	queued atomic.Int32
	// lost: the shard was given away while user code did not return.
	lost atomic.Bool
	// marked: a mark to passivate is queued; used is when the sweep last saw that
	// a call had ended, in time since the regions began. Guarded by the slot's
	// lock.
	marked bool
	used   time.Duration
}

type startFailure struct {
	err  *Error
	left int32
}

// receive handles what comes out of the mailbox.
func (e *entity) receive(c *call) {
	switch c.mark {
	case markPassivate:
		e.passivate()
	case markStop:
		e.drop()
		s := e.host.slot
		s.mu.Lock()
		e.forget()
		if len(e.host.entities) == 0 {
			s.activate()
		}
		s.unlock()
		e.end()
	case markNone:
		e.run(c)
	}
}

// run runs one call, or gives it back.
func (e *entity) run(c *call) {
	h := e.host
	set := h.slot.region.set
	if h.cut.Load() || !h.valid.Load() || c.round != h.round.Load() {
		e.queued.Add(-1)
		c.giveBack()
		return
	}
	if !set.cfg.Cluster.SessionValid() {
		h.sessionLost(c.round)
		e.queued.Add(-1)
		c.giveBack()
		return
	}
	if !c.deadline.IsZero() && time.Until(c.deadline) <= 0 {
		e.queued.Add(-1)
		c.respond(nil, c.fail(Unavailable, errExpired))
		return
	}
	if !c.state.CompareAndSwap(callWaits, callRuns) {
		e.queued.Add(-1)
		c.respond(nil, c.fail(Unavailable, context.Canceled))
		return
	}
	reply, err, drop := e.execute(c)
	if drop {
		e.drop()
	}
	if !h.Valid() {
		reply, err = nil, withheld(c, err)
	}
	e.touched.Store(true)
	left := e.queued.Add(-1)
	c.respond(reply, err)
	if drop && left == 0 {
		e.leave()
	}
}

// withheld replaces an outcome of a node that lost its session or the shard
// meanwhile: another node may own the shard by now and its word counts. That
// the call did not run stays true.
func withheld(c *call, failure *Error) *Error {
	switch {
	case failure == nil || failure.Code.MayHaveRun():
		return c.fail(Lost, errWithheld)
	case failure.Code == Rejected || failure.Code == CommandReused:
		return c.fail(Unavailable, errWithheld)
	}
	return failure
}

// execute starts the entity if need be and runs the call. Panics stay here.
func (e *entity) execute(c *call) (reply any, failure *Error, drop bool) {
	if f := e.failure; f != nil {
		if f.left--; f.left <= 0 {
			e.failure = nil
		}
		if f.left >= 0 {
			return nil, c.fail(f.err.Code, f.err.Err), true
		}
	}
	if e.behavior == nil {
		if failure := e.start(c); failure != nil {
			if n := e.queued.Load() - 1; n > 0 {
				e.failure = &startFailure{err: failure, left: n}
			}
			return nil, failure, true
		}
		// Starting takes its time, and the right to run may be gone meanwhile.
		if !e.host.Valid() {
			return nil, c.fail(Unavailable, errStartedLate), false
		}
	}
	if !c.decoded {
		v, err := guardDecode(c.def.DecodeRequest, c.raw)
		if err != nil {
			return nil, c.fail(Malformed, fmt.Errorf("request of method %q: %w", c.def.Name, err)), false
		}
		c.request, c.decoded = v, true
	}
	reply, err := e.handle(c)
	if err == nil {
		return reply, nil, false
	}
	drop = errors.Is(err, ErrStop)
	if err = withoutStop(err); err == nil {
		return reply, nil, drop
	}
	if _, ok := errors.AsType[*panicError](err); ok {
		drop = true
	}
	return nil, c.toError(err), drop
}

// handle is the behaviour's Handle with its panics as errors.
func (e *entity) handle(c *call) (reply any, err error) {
	ctx := &callContext{Context: e.host.ctx, deadline: c.deadline}
	done := false
	defer func() {
		ctx.end()
		if done {
			return
		}
		r := recover()
		err = e.panicked("handle", r)
		if r == nil {
			// runtime.Goexit: the actor is ending and nothing after this runs.
			e.exited(c, err)
		}
	}()
	c.user = Call{Method: c.def, Request: c.request, CommandID: c.commandID}
	if c.answer != nil || c.commandID != "" {
		c.user.Raw = c.raw
	}
	reply, err = e.behavior.Handle(ctx, &c.user)
	done = true
	return reply, err
}

// start makes the behaviour and starts it.
func (e *entity) start(c *call) (failure *Error) {
	h := e.host
	region := h.slot.region
	set := region.set
	ctx, cancel := context.WithTimeout(h.ctx, set.cfg.StartTimeout)
	done := false
	defer func() {
		cancel()
		if done {
			return
		}
		r := recover()
		err := e.panicked("start", r)
		failure = c.fail(Failed, err)
		if r == nil {
			e.exited(c, err)
		}
	}()
	e.behavior = region.def.New()
	err := e.behavior.Start(ctx, &Activation{
		Type: region.def.Name, ID: e.id, Shard: h.slot.shard, Generation: h.generation, Epoch: h.epoch,
		Node: string(set.self.ID), Valid: h.Valid, StopShard: h.fence,
	})
	done = true
	if err == nil {
		region.stats.started.Add(1)
		return nil
	}
	if f := set.cfg.Events.EntityFailed; f != nil {
		f(region.def.Name, e.id, err)
	}
	if err = withoutStop(err); err == nil {
		err = errStart
	}
	if coded, ok := errors.AsType[*Error](err); ok {
		return c.fail(coded.Code, coded.Err)
	}
	return c.fail(Unavailable, fmt.Errorf("entity does not start: %w", err))
}

// drop stops the behaviour; the next call makes a new one.
func (e *entity) drop() {
	b := e.behavior
	if b == nil {
		return
	}
	e.behavior = nil
	set := e.host.slot.region.set
	ctx, cancel := context.WithTimeout(set.base, set.cfg.StopTimeout)
	done := false
	defer func() {
		cancel()
		if !done {
			_ = e.panicked("stop", recover())
		}
	}()
	b.Stop(ctx)
	done = true
}

// passivate takes an idle entity out of memory.
func (e *entity) passivate() {
	s := e.host.slot
	s.mu.Lock()
	e.marked = false
	idle := e.queued.Load() == 0
	s.unlock()
	if !idle {
		return
	}
	e.drop()
	s.region.stats.passivated.Add(1)
	e.leave()
}

// leave ends the actor unless a call has come meanwhile, which then starts the
// entity afresh.
func (e *entity) leave() {
	s := e.host.slot
	s.mu.Lock()
	if e.queued.Load() > 0 || e.host.state == hostStops {
		s.unlock()
		return
	}
	e.forget()
	s.unlock()
	e.end()
}

// forget takes the entity out of the shard's map. The slot's lock is held.
func (e *entity) forget() {
	if e.host.entities[e.id] == e {
		delete(e.host.entities, e.id)
		e.host.slot.region.stats.entities.Add(-1)
	}
}

// exited cleans up after runtime.Goexit in user code: the actor is ending.
func (e *entity) exited(c *call, err error) {
	e.drop()
	s := e.host.slot
	s.mu.Lock()
	e.forget()
	s.activate()
	s.unlock()
	c.respond(nil, c.fail(Failed, err))
}

type panicError struct{ text string }

func (p *panicError) Error() string { return p.text }

// panicked reports a panic of user code, with its stack only in the log.
func (e *entity) panicked(where string, r any) error {
	region := e.host.slot.region
	err := &panicError{text: fmt.Sprintf("user code panicked: %v", r)}
	if r == nil {
		err.text = "user code ended its goroutine with runtime.Goexit"
	}
	region.set.cfg.Logger.Error("entity failed", slog.String("entity_type", region.def.Name), slog.String("entity_id", e.id),
		slog.String("in", where), slog.String("error", err.text), slog.String("stack", string(debug.Stack())))
	if f := region.set.cfg.Events.EntityFailed; f != nil {
		f(region.def.Name, e.id, err)
	}
	return err
}

// toError gives user errors their code.
func (c *call) toError(err error) *Error {
	if coded, ok := errors.AsType[*Error](err); ok {
		return c.fail(coded.Code, coded.Err)
	}
	if _, ok := AsRefusal(err); ok {
		return c.fail(Rejected, err)
	}
	return c.fail(Failed, err)
}

// withoutStop takes ErrStop out of err; nil means there was nothing else.
func withoutStop(err error) error {
	if err == ErrStop { //nolint:errorlint // the sentinel itself, not a wrapped one
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok && errors.Is(err, ErrStop) {
		var rest []error
		for _, e := range joined.Unwrap() {
			if e = withoutStop(e); e != nil {
				rest = append(rest, e)
			}
		}
		if len(rest) == 1 {
			return rest[0]
		}
		return errors.Join(rest...)
	}
	return err
}

// respond ends a call that was with an entity. The call is not to be touched
// afterwards.
func (c *call) respond(reply any, failure *Error) {
	s := c.slot
	if c.answer == nil {
		s.finish(c, result{value: reply, err: failure})
		return
	}
	answer := c.answer
	r := wire.ShardReply{}
	if failure == nil {
		b, err := guardEncode(c.def.EncodeReply, reply)
		switch {
		case err != nil:
			failure = c.fail(Failed, fmt.Errorf("reply of method %q: %w", c.def.Name, err))
		case len(b) > MaxPayload:
			failure = c.fail(Failed, fmt.Errorf("reply of method %q has %d bytes: at most %d are allowed; the call has run", c.def.Name, len(b), MaxPayload))
		default:
			r.Payload = b
		}
	}
	if failure != nil {
		r = errorReply(failure)
	}
	s.region.set.calls.put(c)
	answer(wire.AppendShardReply(make([]byte, 0, 16+len(r.Payload)+len(r.Code)+len(r.Text)+len(r.Refusal)), &r), nil)
}

func errorReply(e *Error) wire.ShardReply {
	r := wire.ShardReply{Status: wire.ReplyError, Code: string(e.Code)}
	if e.Err != nil {
		r.Text = e.Err.Error()
	}
	if e.Code == Rejected {
		if refusal, ok := AsRefusal(e.Err); ok {
			r.Refusal = refusal.Code
		}
	}
	return r
}

// giveBack returns a call, which has not begun, to the region it came from.
func (c *call) giveBack() {
	s := c.slot
	set := s.region.set
	generation, index := set.generation.Load(), set.index.Load()
	if c.answer == nil {
		s.refused(c, generation, index)
		return
	}
	answer := c.answer
	set.calls.put(c)
	answer(refusal(generation, index), nil)
}

func refusal(generation, index uint64) []byte {
	return wire.AppendShardReply(nil, &wire.ShardReply{Status: wire.ReplyRefused, Generation: generation, Index: index})
}
