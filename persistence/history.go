package persistence

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// Recorded is an event of an entity as the journal keeps it.
type Recorded[E any] struct {
	Event E
	// Seq is its place in the entity's history, from 1.
	Seq uint64
	// Time at which the owner appended it, by that node's clock.
	Time time.Time
}

// History reads the events of an entity after a sequence number, oldest first,
// straight from the store: it needs no node, and sees every command that was
// acknowledged before it began. It ends after the first error, or when the
// caller stops, as for a page of a bank statement.
func (t *Type[S, E]) History(ctx context.Context, store journal.Streams, id string, after uint64) iter.Seq2[Recorded[E], error] {
	events, codec := t.events.complete(), typeCodec{&t.Settings}
	return func(yield func(Recorded[E], error) bool) {
		for rec, err := range read(ctx, store, t.stream(id), after) {
			var e E
			if err == nil {
				e, err = events.decode(codec, rec)
			}
			if err != nil {
				yield(Recorded[E]{}, fmt.Errorf("persistence: history of %s/%s: %w", t.name, id, err))
				return
			}
			if !yield(Recorded[E]{Event: e, Seq: rec.Seq, Time: rec.Time}, nil) {
				return
			}
		}
	}
}

// EncodeEvents makes journal events of events, for tools that write a history
// from elsewhere into a store. In an entity only its commands do.
func (t *Type[S, E]) EncodeEvents(events ...E) ([]journal.Event, error) {
	out, err := t.events.complete().encode(typeCodec{&t.Settings}, events)
	if err != nil {
		return nil, fmt.Errorf("persistence: entity type %q: %w", t.name, err)
	}
	return out, nil
}

// Load returns an entity's state as the store has it, without a node: for
// tools and tests. An entity without events has the zero state.
func (t *Type[S, E]) Load(ctx context.Context, store journal.Streams, id string) (Result[S], error) {
	if err := t.validate(); err != nil {
		return Result[S]{}, fmt.Errorf("persistence: entity type %q: %w", t.name, err)
	}
	r, _, err := t.bind(store, BindOptions{}).load(ctx, t.stream(id), func(journal.Token) error { return nil })
	if err != nil {
		return Result[S]{}, fmt.Errorf("persistence: load %s/%s: %w", t.name, id, err)
	}
	return r, nil
}

// read pages through a stream and checks that it has no gap.
func read(ctx context.Context, store journal.Streams, st journal.Stream, after uint64) iter.Seq2[journal.Recorded, error] {
	return func(yield func(journal.Recorded, error) bool) {
		for more := true; more; {
			page, err := store.Read(ctx, st, after, 0)
			if err != nil {
				yield(journal.Recorded{}, err)
				return
			}
			for _, rec := range page.Events {
				if rec.Seq != after+1 {
					yield(journal.Recorded{}, fmt.Errorf("the journal has event %d after %d: the history is damaged, restore it from a backup", rec.Seq, after))
					return
				}
				after = rec.Seq
				if !yield(rec, nil) {
					return
				}
			}
			more = page.More && len(page.Events) > 0
		}
	}
}
