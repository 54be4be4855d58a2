package sim

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/sharding"
)

// activation is one time in memory of one entity, as the oracle follows it.
type activation struct {
	p          *process
	order      uint64 // activations are numbered as they start
	shard      int
	id         string
	generation uint64
	epoch      uint64
	// valid is the gate that the node itself goes by.
	valid func() bool
	// closed is when the oracle first saw the gate closed; guarded by its lock.
	closed time.Time
}

func (a *activation) stream() journal.Stream {
	return journal.Stream{Shard: journal.Shard{Type: "account", Index: a.shard}, ID: a.id}
}

type activationKey struct{}

// activationOf returns the activation on whose behalf the store is called.
func activationOf(ctx context.Context) *activation {
	a, _ := ctx.Value(activationKey{}).(*activation)
	return a
}

// watched is an entity type whose activations and calls the oracle sees.
type watched struct{ d *sharding.Definition }

// Definition implements sharding.Entity.
func (w watched) Definition() *sharding.Definition { return w.d }

func watch(e sharding.Entity, p *process) sharding.Entity {
	d := *e.Definition()
	inner := d.New
	rnd := &lockedRand{rnd: rand.New(rand.NewPCG(p.w.seed, uint64(p.seq)<<8|1))}
	d.New = func() sharding.Behavior { return &probe{Behavior: inner(), p: p, rnd: rnd} }
	return watched{&d}
}

// probe tells the oracle when an entity runs, takes its time now and then, and
// stands still while its process is paused.
type probe struct {
	sharding.Behavior
	p   *process
	rnd *lockedRand
	a   *activation
}

// Start implements sharding.Behavior.
func (b *probe) Start(ctx context.Context, a *sharding.Activation) error {
	b.p.awaitThaw()
	b.a = b.p.w.oracle.activated(b.p, a)
	return b.Behavior.Start(context.WithValue(ctx, activationKey{}, b.a), a)
}

// Handle implements sharding.Behavior.
func (b *probe) Handle(ctx context.Context, c *sharding.Call) (any, error) {
	o := b.p.w.oracle
	o.executes(b.a)
	defer o.executed(b.a)
	if b.rnd.IntN(4) == 0 {
		_ = sleep(ctx, time.Duration(b.rnd.IntN(5000))*time.Microsecond)
	}
	b.p.awaitThaw()
	reply, err := b.Behavior.Handle(context.WithValue(ctx, activationKey{}, b.a), c)
	b.p.awaitThaw()
	return reply, err
}

// Stop implements sharding.Behavior.
func (b *probe) Stop(ctx context.Context) {
	b.p.w.oracle.passivated(b.a)
	b.Behavior.Stop(ctx)
}

// lockedRand may be used by many goroutines.
type lockedRand struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

// IntN returns a number in [0, n).
func (r *lockedRand) IntN(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rnd.IntN(n)
}

// Float64 returns a number in [0, 1).
func (r *lockedRand) Float64() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rnd.Float64()
}

// sample notes since when the gate is closed.
func (a *activation) sample() {
	if a.valid() {
		a.closed = time.Time{}
	} else if a.closed.IsZero() {
		a.closed = time.Now()
	}
}

// invalidFor says for how long the gate has been seen closed.
func (a *activation) invalidFor() time.Duration {
	if a.closed.IsZero() {
		return 0
	}
	return time.Since(a.closed)
}
