package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-go/holdfast/sharding"
)

type opKind uint8

const (
	keyed   opKind = iota // an ask with a command id
	plain                 // an ask without
	tell                  // a tell
	reading               // a query
)

type outcome uint8

const (
	unknown  outcome = iota // it may have run, or the caller's process died
	done                    // it was replied to
	rejected                // the account refused
	notRun                  // an error that says that it has not run
)

// op is one call as its caller saw it.
type op struct {
	id, entity string
	kind       opKind
	amount     int64
	stream     string // calls of one caller through one process to one entity, in order
	n          int
	repeat     bool // the command id is used by another call, too
	repeated   bool // and that other one came later
	timeout    time.Duration
	via        *process

	// Order and times of begin and end, and how it ended; set by the oracle.
	begin, end       uint64
	beganAt, endedAt time.Duration
	outcome          outcome
	reply            statement
	err              error
}

// String describes the call on one line.
func (p *op) String() string {
	kind := [...]string{"command", "ask", "tell", "read"}[p.kind]
	return fmt.Sprintf("%s %s of %s through %s (%v to %v)", kind, p.id, p.entity, p.via.self.ID, p.beganAt.Round(time.Millisecond), p.endedAt.Round(time.Millisecond))
}

// caller makes calls until ctx ends.
type caller struct {
	w    *world
	id   int
	rnd  *rand.Rand
	n    int
	sent map[string]int // calls by stream
}

func (w *world) newCaller(id int) *caller {
	return &caller{w: w, id: id, rnd: rand.New(rand.NewPCG(w.seed, uint64(id)<<16|7)), sent: map[string]int{}}
}

func (c *caller) run(ctx context.Context) {
	var via *process
	for ctx.Err() == nil {
		if !sleep(ctx, time.Duration(5+c.rnd.IntN(60))*time.Millisecond) {
			return
		}
		if via == nil || via.gone() || c.rnd.IntN(10) == 0 {
			if via = c.w.anyProcess(c.rnd); via == nil {
				continue
			}
		}
		if c.rnd.IntN(30) == 0 {
			c.burst(via) //nolint:contextcheck // each call has a ctx of its own
			continue
		}
		c.step(via) //nolint:contextcheck // each call has a ctx of its own
	}
}

// burst sends many tells to one account, and an ask behind them.
func (c *caller) burst(via *process) {
	entity := c.w.entities[c.rnd.IntN(len(c.w.entities))]
	for n := 10 + c.rnd.IntN(30); n >= 0 && !via.gone(); n-- {
		c.n++
		p := &op{id: fmt.Sprintf("c%d-%d", c.id, c.n), entity: entity, via: via, kind: tell, amount: 1, timeout: 3 * time.Second}
		if n == 0 {
			p.kind = plain
		}
		c.place(p)
		c.w.do(p)
		if c.rnd.IntN(3) == 0 {
			_ = sleep(context.Background(), time.Duration(c.rnd.IntN(3000))*time.Microsecond)
		}
	}
}

// place gives a call its place in its stream.
func (c *caller) place(p *op) {
	p.stream = fmt.Sprintf("c%d/%s/%s", c.id, p.via.self.ID, p.entity)
	c.sent[p.stream]++
	p.n = c.sent[p.stream]
}

var timeouts = [...]time.Duration{200 * time.Millisecond, time.Second, 3 * time.Second, 8 * time.Second}

// step makes one call, sometimes repeats it.
func (c *caller) step(via *process) {
	c.n++
	p := &op{
		id: fmt.Sprintf("c%d-%d", c.id, c.n), entity: c.w.entities[c.rnd.IntN(len(c.w.entities))], via: via,
		amount: int64(1 + c.rnd.IntN(100)), timeout: timeouts[c.rnd.IntN(len(timeouts))],
	}
	if c.rnd.IntN(4) == 0 {
		p.amount = -3 * p.amount
	}
	switch n := c.rnd.IntN(20); {
	case n < 9:
		p.kind = keyed
	case n < 14:
		p.kind = plain
	case n < 17:
		p.kind = tell
	default:
		p.kind, p.amount = reading, 0
	}
	if p.kind != reading {
		c.place(p)
	}
	if p.kind == keyed && c.rnd.IntN(8) == 0 {
		c.twice(p)
		return
	}
	c.w.do(p)
	if p.kind == keyed && c.rnd.IntN(4) == 0 {
		c.again(p)
	}
}

// twice makes the same command through two nodes at a time.
func (c *caller) twice(p *op) {
	other := c.w.anyProcess(c.rnd)
	if other == nil || other == p.via {
		c.w.do(p)
		return
	}
	// Their order is nobody's to promise.
	q := *p
	q.via, q.repeat, p.repeat = other, true, true
	ended := make(chan struct{})
	c.w.tasks.Go(func() {
		defer close(ended)
		c.w.do(&q)
	})
	c.w.do(p)
	<-ended
	c.w.sameOutcome(p, &q)
}

// again repeats a command, through any node.
func (c *caller) again(p *op) {
	if via := c.w.anyProcess(c.rnd); via != nil {
		q := *p
		p.repeated = true
		q.via, q.repeat, q.timeout = via, true, timeouts[c.rnd.IntN(len(timeouts))]
		c.w.do(&q)
		c.w.sameOutcome(p, &q)
		if p.outcome != done || c.rnd.IntN(3) > 0 {
			return
		}
		r := *p
		r.via, r.repeat, r.amount = via, true, p.amount+1
		r.id, r.stream = p.id+"-other", ""
		c.w.reuse(p, &r)
	}
}

// do makes a call and has the oracle note how it ended.
func (w *world) do(p *op) {
	w.oracle.begin(p)
	reply, err := w.send(p, p.id)
	w.oracle.end(p, reply, err, p.via.dead.Load())
}

func (w *world) send(p *op, commandID string) (statement, error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	q := move{Op: p.id, Amount: p.amount, Stream: p.stream, N: p.n}
	switch p.kind {
	case keyed:
		return w.bank.move.Ask(sharding.CommandID(ctx, commandID), p.via.regions, p.entity, q)
	case tell:
		return statement{}, w.bank.move.Tell(ctx, p.via.regions, p.entity, q)
	case reading:
		return w.bank.read.Ask(ctx, p.via.regions, p.entity, struct{}{})
	case plain:
	}
	return w.bank.move.Ask(ctx, p.via.regions, p.entity, q)
}

// reuse makes another command under the id of p, which has been replied to.
func (w *world) reuse(p, other *op) {
	w.oracle.begin(other)
	reply, err := w.send(other, p.id)
	w.oracle.end(other, reply, err, other.via.dead.Load())
	if other.outcome == done || other.outcome == rejected {
		w.oracle.report("I9", "%s took the id of %s and got %+v, %v", other, p, reply, err)
	}
}

// sameOutcome checks that a repeat got the recorded reply.
func (w *world) sameOutcome(p, q *op) {
	answered := func(p *op) bool { return p.outcome == done || p.outcome == rejected }
	if !answered(p) || !answered(q) {
		return
	}
	if p.outcome != q.outcome || p.reply != q.reply || (p.outcome == rejected) != errors.Is(q.err, errInsufficient) {
		w.oracle.report("I9", "%s got %+v (%v), its repeat %+v (%v)", p, p.reply, p.err, q.reply, q.err)
	}
}
