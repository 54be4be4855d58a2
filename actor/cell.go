package actor

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
)

// Flags of a cell. They change under its lock and are read without it.
const (
	// flagScheduled: a goroutine runs the cell, or will once protoactor has
	// registered it.
	flagScheduled uint32 = 1 << iota
	// flagUnstarted: Started is to be called.
	flagUnstarted
	// flagDraining: no new messages; stop when the queue is empty.
	flagDraining
	// flagStopping: no new messages and no next one.
	flagStopping
	// flagRestarting: no next message before there is a fresh behavior.
	flagRestarting
	// flagHooked: Stopped of the present behavior must not be called (again).
	flagHooked
	// flagChildren: the children were asked to stop.
	flagChildren
	// flagReported: Props.Stopped was called.
	flagReported
	// flagEnded: over; nothing is left to be done.
	flagEnded
)

const (
	flagsClosed  = flagDraining | flagStopping | flagEnded
	flagsSpecial = flagUnstarted | flagStopping | flagRestarting
	// yieldEvery is the number of messages after which a busy actor lets others run.
	yieldEvery = 300
	// keepEntries is the capacity of a queue that an idle actor may keep.
	keepEntries = 8
)

// cell is one actor: protoactor's mailbox and its receiver in one allocation.
// Protoactor gives it its identity, registration and lifecycle; the queue,
// supervision and the tree are here, for the reasons given in the package's
// documentation.
type cell[M any] struct {
	node
	mu    sync.Mutex
	flags atomic.Uint32
	// queued counts the messages in both halves of the queue.
	queued  atomic.Int32
	bound   int32
	max     int32 // restarts
	within  time.Duration
	system  *System
	invoker proto.MessageInvoker

	queue    *queue[M]
	behavior Behavior[M]
	rare     *rare

	make        func() Behavior[M]
	stopped     func(error)
	undelivered func(M)
}

// queue has two halves: senders append to in under the lock, the actor's goroutine
// takes from out without it, and swaps them when out is used up.
type queue[M any] struct {
	in, out []entry[M]
	at      int // next in out
}

type entry[M any] struct {
	m M
	// ask is set when m came from Ask.
	ask *pending
}

// rare holds what most actors never need.
type rare struct {
	done     chan struct{}
	asks     *pending
	reason   error
	failures []time.Time
}

func newCell[M any](s *System, p Props[M], b Behavior[M]) *cell[M] {
	c := &cell[M]{
		system: s, behavior: b, bound: int32(p.Mailbox), max: int32(p.MaxRestarts), within: p.Within,
		make: p.New, stopped: p.Stopped, undelivered: p.Undelivered,
	}
	c.owner = c
	c.flags.Store(flagScheduled | fresh(b))
	return c
}

// fresh are the flags of a new behavior: one that has Started has its Stopped
// called only after that.
func fresh[M any](b Behavior[M]) uint32 {
	if _, ok := b.(Starter[M]); ok {
		return flagUnstarted | flagHooked
	}
	return 0
}

func (c *cell[M]) context() *Context[M] { return (*Context[M])(c) }

// name is kept by protoactor, whose context the invoker is.
func (c *cell[M]) name() string {
	if ctx, ok := c.invoker.(proto.Context); ok {
		return ctx.Self().Id
	}
	return ""
}

func (c *cell[M]) set(f uint32)   { c.flags.Store(c.flags.Load() | f) }
func (c *cell[M]) clear(f uint32) { c.flags.Store(c.flags.Load() &^ f) }

func (c *cell[M]) refusing() bool {
	return c.flags.Load()&(flagStopping|flagRestarting|flagEnded) != 0
}

// extra gives rare, making it. The lock must be held.
func (c *cell[M]) extra() *rare {
	if c.rare == nil {
		c.rare = &rare{}
	}
	return c.rare
}

// isNil tells a nil of any kind that has one, but for slices, where nil is empty.
// None of the conversions allocates: the kinds are pointer-shaped.
func isNil[M any](m M) bool {
	switch reflect.TypeFor[M]().Kind() {
	case reflect.Interface:
		return any(m) == nil
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Chan:
		return reflect.ValueOf(m).IsNil()
	}
	return false
}

// put queues m, and wakes the actor.
func (c *cell[M]) put(m M, ask *pending) error {
	if isNil(m) {
		return ErrNilMessage
	}
	c.mu.Lock()
	f := c.flags.Load()
	if f&flagsClosed != 0 {
		c.mu.Unlock()
		return ErrStopped
	}
	if c.queued.Load() >= c.bound {
		c.mu.Unlock()
		return ErrMailboxFull
	}
	if c.queue == nil {
		c.queue = &queue[M]{}
	}
	c.queue.in = append(c.queue.in, entry[M]{m, ask})
	c.queued.Add(1)
	if ask != nil {
		x := c.extra()
		ask.next = x.asks
		if ask.next != nil {
			ask.next.prev = ask
		}
		x.asks = ask
	}
	if f&flagScheduled != 0 {
		c.mu.Unlock()
		return nil
	}
	c.flags.Store(f | flagScheduled)
	c.mu.Unlock()
	c.system.crew.run(c)
	return nil
}

// forget takes an ask out of the list of those that wait.
func (c *cell[M]) forget(p *pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		c.rare.asks = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	}
	p.next, p.prev = nil, nil
}

// mark sets f and wakes the actor.
func (c *cell[M]) mark(f uint32) {
	c.mu.Lock()
	if c.flags.Load()&flagEnded == 0 {
		c.set(f)
	}
	c.mu.Unlock()
	c.wake()
}

func (c *cell[M]) stop() { c.mark(flagStopping) }

// wake has the actor look at its flags.
func (c *cell[M]) wake() {
	c.mu.Lock()
	idle := c.flags.Load()&(flagScheduled|flagEnded) == 0
	if idle {
		c.set(flagScheduled)
	}
	c.mu.Unlock()
	if idle {
		c.system.crew.run(c)
	}
}

// process runs the cell until it has nothing to do. At most one goroutine does.
func (c *cell[M]) process() {
	idle := false
	for !idle {
		idle = c.run()
	}
}

// run handles messages until there are none, or until the behavior fails.
func (c *cell[M]) run() (idle bool) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if r := recover(); r != nil {
			c.failed(newPanicError(r))
			return
		}
		// runtime.Goexit: this goroutine cannot be kept, so another takes over.
		c.failed(ErrGoexit)
		c.system.crew.run(c)
	}()
	for n := 1; ; n++ {
		if n%yieldEvery == 0 {
			runtime.Gosched()
		}
		if c.flags.Load()&flagsSpecial != 0 {
			if c.lifecycle() {
				returned = true
				return true
			}
			continue
		}
		q := c.queue
		if q == nil || q.at == len(q.out) {
			if c.refill() {
				returned = true
				return true
			}
			continue
		}
		q.at++
		c.queued.Add(-1)
		c.invoker.InvokeUserMessage(c)
	}
}

// Receive is called by protoactor. Its own lifecycle messages are of no interest:
// the cell causes them.
func (c *cell[M]) Receive(ctx proto.Context) {
	if _, ok := ctx.Message().(*cell[M]); !ok {
		return
	}
	e := &c.queue.out[c.queue.at-1]
	if e.ask != nil {
		e.ask.begun.Store(true)
	}
	if err := c.behavior.Receive(c.context(), e.m); err != nil {
		c.failed(err)
	}
	*e = entry[M]{}
}

// refill swaps the halves of the queue, or makes the actor idle.
func (c *cell[M]) refill() (idle bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flags.Load()
	if f&flagsSpecial != 0 {
		return false
	}
	q := c.queue
	if q != nil && len(q.in) > 0 {
		q.in, q.out = q.out[:0], q.in
		q.at = 0
		return false
	}
	if f&flagDraining != 0 {
		c.set(flagStopping)
		return false
	}
	switch {
	case q == nil:
	case cap(q.in) > keepEntries || cap(q.out) > keepEntries:
		c.queue = nil
	default:
		// The half that was just used is at hand, and often the only one there is.
		q.in, q.out, q.at = q.out[:0], q.in, 0
	}
	c.clear(flagScheduled)
	return true
}

// failed decides, in the actor's goroutine, what a failure leads to.
func (c *cell[M]) failed(reason error) {
	c.mu.Lock()
	var ask *pending
	if q := c.queue; q != nil && q.at > 0 && q.at <= len(q.out) {
		ask = q.out[q.at-1].ask
		q.out[q.at-1] = entry[M]{}
	}
	f := c.flags.Load()
	restart := false
	switch {
	case f&(flagStopping|flagEnded) != 0:
		// It is on its way out; a hook failed.
	default:
		x := c.extra()
		restart = c.mayRestart(x)
		if restart {
			c.set(flagRestarting)
		} else {
			x.reason = &RestartLimitError{MaxRestarts: int(c.max), Err: reason}
			c.set(flagStopping)
		}
	}
	c.mu.Unlock()
	if ask != nil {
		ask.fail(fmt.Errorf("%w: %w", ErrNoReply, reason))
	}
	attrs := []any{slog.String("actor", c.name()), slog.String("reason", reason.Error()), slog.Bool("restart", restart)}
	if p, ok := errors.AsType[*PanicError](reason); ok {
		attrs = append(attrs, slog.String("stack", string(p.Stack)))
	}
	c.system.logger.Warn("actor failed", attrs...)
	if fn := c.system.events.Restarted; fn != nil && restart {
		c.system.guard(func() { fn(c.name(), reason) })
	}
}

// mayRestart counts a failure. The lock must be held.
func (c *cell[M]) mayRestart(x *rare) bool {
	if c.max == 0 {
		return false
	}
	now := time.Now()
	recent := x.failures[:0]
	for _, t := range x.failures {
		if now.Sub(t) < c.within {
			recent = append(recent, t)
		}
	}
	x.failures = append(recent, now)
	return len(x.failures) <= int(c.max)
}

func newPanicError(v any) *PanicError { return &PanicError{Value: v, Stack: debug.Stack()} }
