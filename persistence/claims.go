package persistence

import (
	"context"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// claims holds the node's token of each shard of a type, so that one claim
// serves all entities of the shard.
type claims struct {
	store   journal.Streams
	typ     string
	timeout time.Duration

	mu     sync.Mutex
	shards map[int]*claim
}

// claim is the right to one shard for one assignment of it. Entities keep the
// pointer and ask for the token at each append, because the token is renewed
// when a write ended in doubt: the renewal fences that write, so that what the
// next activation reads is final.
type claim struct {
	generation, epoch uint64

	mu    sync.Mutex
	token journal.Token
	// held is false before the first claim and after a write in doubt.
	held bool
	// attempt is closed when the claim that is going on has ended.
	attempt chan struct{}
}

func newClaims(store journal.Streams, typ string, timeout time.Duration) *claims {
	return &claims{store: store, typ: typ, timeout: timeout, shards: map[int]*claim{}}
}

// acquire returns the claim of a shard for an assignment, claiming it if need
// be. Entities that start together share one claim.
func (c *claims) acquire(ctx context.Context, shard int, generation, epoch uint64, owner string) (*claim, error) {
	cl := c.of(shard, generation, epoch)
	for {
		cl.mu.Lock()
		if cl.held {
			cl.mu.Unlock()
			return cl, nil
		}
		attempt := cl.attempt
		if attempt == nil {
			attempt = make(chan struct{})
			cl.attempt = attempt
			cl.mu.Unlock()
			// Not bound to one entity's ctx: the others wait for it too.
			claimCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
			token, err := c.store.Claim(claimCtx, journal.Shard{Type: c.typ, Index: shard}, generation, epoch, owner)
			cancel()
			cl.mu.Lock()
			if err == nil {
				cl.token, cl.held = token, true
			}
			cl.attempt = nil
			close(attempt)
			cl.mu.Unlock()
			return cl, err
		}
		cl.mu.Unlock()
		select {
		case <-attempt: // look again, and claim if it failed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// of returns the claim of an assignment. An older assignment gets one of its
// own that is not remembered: the store will refuse it.
func (c *claims) of(shard int, generation, epoch uint64) *claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	have := c.shards[shard]
	switch {
	case have == nil, have.generation < generation, have.generation == generation && have.epoch < epoch:
		have = &claim{generation: generation, epoch: epoch}
		c.shards[shard] = have
	case have.generation != generation || have.epoch != epoch:
		return &claim{generation: generation, epoch: epoch}
	}
	return have
}

// current returns the token to append with.
func (c *claim) current() journal.Token {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token
}

// doubt makes the next activation claim again.
func (c *claim) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
}
