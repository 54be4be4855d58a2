package actor

import (
	proto "github.com/asynkron/protoactor-go/actor"
)

// lifecycle does the next step of starting, restarting or ending. Each step is
// marked before it calls foreign code, so that a panic in there, which run
// recovers, goes on with the step after it. It says whether the actor has nothing
// to do for now.
func (c *cell[M]) lifecycle() (idle bool) {
	f := c.flags.Load()
	if f&(flagStopping|flagRestarting) == 0 {
		c.start()
		return false
	}
	if !c.childrenEnded(f) {
		return true
	}
	if f = c.flags.Load(); f&flagHooked == 0 {
		c.update(flagHooked, 0)
		if b, ok := c.behavior.(Stopper[M]); ok {
			b.Stopped(c.context())
		}
		return false
	}
	if f&flagStopping != 0 {
		return c.end()
	}
	c.restart()
	return false
}

func (c *cell[M]) update(set, unset uint32) {
	c.mu.Lock()
	c.flags.Store(c.flags.Load()&^unset | set)
	c.mu.Unlock()
}

// start calls Started. Stopped may be called when it has returned without error.
func (c *cell[M]) start() {
	c.update(0, flagUnstarted)
	b, ok := c.behavior.(Starter[M])
	if ok {
		if err := b.Started(c.context()); err != nil {
			c.failed(err)
			return
		}
	}
	c.update(0, flagHooked)
}

// restart replaces the behavior. Askers that wait for the old one are told: its
// state is gone, and with it what it knew of them.
func (c *cell[M]) restart() {
	c.failAsks(true)
	b, err := produce(c.make)
	if err != nil {
		c.update(0, flagRestarting)
		c.failed(err)
		return
	}
	c.behavior = b
	c.update(fresh(b), flagRestarting|flagHooked|flagChildren)
}

// childrenEnded asks the children to stop, and says whether all have ended. When
// not it makes the actor idle; the last child wakes it.
func (c *cell[M]) childrenEnded(f uint32) bool {
	if f&flagChildren == 0 {
		c.update(flagChildren, 0)
		c.system.stopChildren(&c.node)
	}
	if c.system.childless(&c.node) {
		return true
	}
	c.update(0, flagScheduled)
	// The last child may have ended before the flag was cleared: then nobody is
	// left to wake this actor but itself.
	if !c.system.childless(&c.node) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flags.Load()&flagScheduled != 0 {
		return false // somebody else runs it now
	}
	c.set(flagScheduled)
	return true
}

// end gives back what is queued, reports, and leaves the tree.
func (c *cell[M]) end() bool {
	if e, ok := c.next(); ok {
		c.dead(e)
		return false
	}
	c.failAsks(false)
	// Protoactor forgets the actor here, so its name is free when Done is closed.
	c.invoker.InvokeSystemMessage(c.system.stop)
	reason := c.reason()
	if c.flags.Load()&flagReported == 0 {
		c.update(flagReported, 0)
		if fn := c.system.events.Stopped; fn != nil {
			c.system.guard(func() { fn(c.name(), reason) })
		}
		if c.stopped != nil {
			c.stopped(reason)
		}
		return false
	}
	c.mu.Lock()
	c.set(flagEnded)
	c.behavior, c.queue, c.make, c.stopped, c.undelivered = nil, nil, nil, nil, nil
	if c.rare != nil && c.rare.done != nil {
		close(c.rare.done)
	}
	c.mu.Unlock()
	c.system.unlink(&c.node)
	return true
}

func (c *cell[M]) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rare == nil {
		return nil
	}
	return c.rare.reason
}

// next takes a message without handling it.
func (c *cell[M]) next() (e entry[M], ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.queue
	if q == nil {
		return e, false
	}
	if q.at == len(q.out) {
		q.in, q.out, q.at = nil, q.in, 0
	}
	if q.at == len(q.out) {
		return e, false
	}
	e = q.out[q.at]
	q.out[q.at] = entry[M]{}
	q.at++
	c.queued.Add(-1)
	return e, true
}

// dead accounts for a message that is not going to be handled. Its asker is told
// by failAsks.
func (c *cell[M]) dead(e entry[M]) {
	c.system.deadLetters.Add(1)
	if fn := c.system.events.DeadLetter; fn != nil {
		c.system.guard(func() { fn(c.name(), e.m) })
	}
	if c.undelivered != nil {
		c.undelivered(e.m)
	}
}

// failAsks tells the askers that wait for a message that was begun, or all.
func (c *cell[M]) failAsks(begunOnly bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rare == nil {
		return
	}
	for p := c.rare.asks; p != nil; p = p.next {
		switch {
		case p.begun.Load():
			p.fail(ErrNoReply)
		case !begunOnly:
			p.fail(ErrStopped)
		}
	}
}

// The rest is what protoactor asks of a mailbox.

// RegisterHandlers is called by protoactor, once. The dispatcher is not used: it
// would only start the goroutine that put starts.
func (c *cell[M]) RegisterHandlers(invoker proto.MessageInvoker, _ proto.Dispatcher) {
	c.invoker = invoker
}

// Start is called by protoactor when the actor is registered.
func (c *cell[M]) Start() {
	if fn := c.system.events.Spawned; fn != nil {
		c.system.guard(func() { fn(c.name()) })
	}
	c.mu.Lock()
	busy := c.flags.Load()&(flagsSpecial|flagDraining) != 0 || c.queued.Load() > 0
	if !busy {
		c.clear(flagScheduled)
	}
	c.mu.Unlock()
	if busy {
		c.system.crew.run(c)
	}
}

// PostUserMessage takes messages that are sent by protoactor means.
func (c *cell[M]) PostUserMessage(m any) {
	if v, ok := m.(M); ok && c.put(v, nil) == nil {
		return
	}
	c.system.deadLetters.Add(1)
	if fn := c.system.events.DeadLetter; fn != nil {
		c.system.guard(func() { fn(c.name(), m) })
	}
}

// PostSystemMessage takes protoactor's lifecycle messages. The only one that
// comes is Started, and the cell starts itself; Stop is honoured.
func (c *cell[M]) PostSystemMessage(m any) {
	if _, ok := m.(*proto.Stop); ok {
		c.stop()
	}
}

// UserMessageCount is how many messages are queued.
func (c *cell[M]) UserMessageCount() int { return int(c.queued.Load()) }
