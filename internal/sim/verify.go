package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/sharding"
)

// written is a move as the journal has it.
type written struct {
	moved
	seq     uint64
	balance int64
}

// verify compares the journal with what the callers saw. Everything has ended.
func (o *oracle) verify(store journal.Streams, entities []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	where := map[string]map[string]written{} // by entity and operation
	balances := map[string][]int64{}         // by entity and sequence number
	unordered := map[string]bool{}           // made more than once, so at no certain place
	for _, p := range o.ops {
		if p.repeat || p.repeated {
			unordered[p.id] = true
		}
	}
	for _, id := range entities {
		history := o.history(store, id)
		byOp := map[string]written{}
		balances[id] = []int64{0}
		order := map[string]int{}
		for _, w := range history {
			if twice, ok := byOp[w.Op]; ok {
				o.broken("I9", "%s is in the history of %s at %d and at %d", w.Op, id, twice.seq, w.seq)
			}
			byOp[w.Op] = w
			balances[id] = append(balances[id], w.balance)
			if w.balance < 0 {
				o.broken("I2", "balance of %s is %d at %d", id, w.balance, w.seq)
			}
			if w.Stream == "" || unordered[w.Op] {
				continue
			}
			if w.N <= order[w.Stream] {
				o.broken("I5", "number %d of %s is at %d of %s, behind number %d", w.N, w.Stream, w.seq, id, order[w.Stream])
			}
			order[w.Stream] = max(order[w.Stream], w.N)
		}
		where[id] = byOp
	}
	for _, p := range o.ops {
		w, in := where[p.entity][p.id]
		switch {
		case p.outcome == notRun && in && !p.repeat && !p.repeated:
			o.broken("I4", "%s did not run, it says (%v), but is in the journal at %d", p, p.err, w.seq)
		case p.outcome == rejected && in:
			o.broken("I4", "%s was rejected but is in the journal at %d", p, w.seq)
		case p.outcome != done || p.kind == tell:
		case p.kind == reading:
			b := balances[p.entity]
			if p.reply.Seq >= uint64(len(b)) || b[p.reply.Seq] != p.reply.Balance {
				o.broken("I2", "%s got balance %d at %d, which is not in the history", p, p.reply.Balance, p.reply.Seq)
			}
		case !in:
			o.broken("I3", "%s was acknowledged with %+v and is not in the journal", p, p.reply)
		case p.reply != statement{Seq: w.seq, Balance: w.balance}:
			o.broken("I9", "%s got %+v, the journal says %d and balance %d", p, p.reply, w.seq, w.balance)
		}
	}
	o.realTime(entities)
}

// history reads the journal of one account and checks it by itself.
func (o *oracle) history(store journal.Streams, id string) []written {
	st := journal.Stream{Shard: journal.Shard{Type: "account", Index: sharding.ShardOf(id, shards)}, ID: id}
	var out []written
	var token journal.Token
	for {
		page, err := store.Read(context.Background(), st, uint64(len(out)), 0)
		if err != nil {
			o.broken("I2", "history of %s cannot be read: %v", id, err)
			return out
		}
		for _, e := range page.Events {
			if e.Seq != uint64(len(out))+1 {
				o.broken("I2", "history of %s has %d after %d", id, e.Seq, len(out))
			}
			if e.Token.Compare(token) < 0 {
				o.broken("I2", "%d of %s has token %+v after %+v", e.Seq, id, e.Token, token)
			}
			token = e.Token
			w := written{seq: e.Seq}
			if err := json.Unmarshal(e.Payload, &w.moved); err != nil {
				o.broken("I2", "%d of %s cannot be decoded: %v", e.Seq, id, err)
			}
			w.balance = w.Amount
			if n := len(out); n > 0 {
				w.balance += out[n-1].balance
			}
			out = append(out, w)
		}
		if !page.More {
			return out
		}
	}
}

// realTime checks that each reply includes everything that was acknowledged
// before its call began.
func (o *oracle) realTime(entities []string) {
	type point struct {
		at    uint64
		p     *op
		begin bool
	}
	for _, id := range entities {
		var points []point
		for _, p := range o.ops {
			if p.entity == id && p.outcome == done && p.kind != tell && !p.repeat {
				points = append(points, point{p.begin, p, true}, point{p.end, p, false})
			}
		}
		slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.at, b.at) })
		var newest uint64
		since := map[*op]uint64{}
		for _, pt := range points {
			if pt.begin {
				since[pt.p] = newest
				continue
			}
			seq := pt.p.reply.Seq
			if pt.p.kind != reading {
				seq-- // a write is behind what it follows
			}
			if seq < since[pt.p] {
				o.broken("I3", "%s got %+v although %d was acknowledged before it began", pt.p, pt.p.reply, since[pt.p])
			}
			newest = max(newest, pt.p.reply.Seq)
		}
	}
}
