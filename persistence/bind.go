package persistence

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/sharding"
)

// Bindable is an entity type that keeps its state in a journal. A node binds
// it to its store before it hosts it; every [Type] is one.
type Bindable interface {
	sharding.Entity
	// BindStore returns the type bound to a store for one node. The type itself
	// does not change.
	BindStore(store journal.Journal, o BindOptions) sharding.Entity
}

// BindOptions of one node.
type BindOptions struct {
	// Logger. Defaults to one that discards.
	Logger *slog.Logger
}

// BindStore implements Bindable.
func (t *Type[S, E]) BindStore(store journal.Journal, o BindOptions) sharding.Entity {
	if store == nil {
		return t
	}
	b := t.bind(store, o)
	d := t.definition()
	d.New = func() sharding.Behavior { return &entity[S, E]{b: b} }
	return boundEntity{d}
}

func (t *Type[S, E]) bind(store journal.Streams, o BindOptions) *bound[S, E] {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	b := &bound[S, E]{
		name:          t.name,
		apply:         t.apply,
		events:        t.events.complete(),
		codec:         typeCodec{&t.Settings},
		snapshotEvery: cmp.Or(t.SnapshotEvery, DefaultSnapshotEvery),
		snapshotVer:   t.SnapshotVersion,
		appendTimeout: cmp.Or(t.AppendTimeout, DefaultAppendTimeout),
		store:         store,
		log:           o.Logger,
	}
	b.claims = newClaims(store, t.name, b.appendTimeout)
	return b
}

type boundEntity struct{ d *sharding.Definition }

func (b boundEntity) Definition() *sharding.Definition { return b.d }

// bound is a type on one node. It is shared by all its entities there.
type bound[S, E any] struct {
	name          string
	apply         func(S, E) S
	events        registry[E]
	codec         typeCodec
	snapshotEvery int
	snapshotVer   int
	appendTimeout time.Duration
	store         journal.Streams
	claims        *claims
	log           *slog.Logger
}

// load brings an entity up to date: the latest snapshot, if it is of use, and
// the events after it. seen is told the token of each event.
func (b *bound[S, E]) load(ctx context.Context, st journal.Stream, seen func(journal.Token) error) (r Result[S], snapSeq uint64, err error) {
	r.ID = st.ID
	snap, ok, err := b.store.Snapshot(ctx, st)
	if err != nil {
		return r, 0, err
	}
	if ok && b.snapshotEvery > 0 {
		state, usable, err := decodeSnapshot[S](b.codec, b.snapshotVer, snap)
		if err != nil {
			b.log.WarnContext(ctx, "snapshot is ignored", slog.String("entity_type", b.name), slog.String("entity_id", st.ID), slog.Any("error", err))
		}
		if usable {
			r.State, r.Seq, snapSeq = state, snap.Seq, snap.Seq
		}
	}
	for rec, err := range read(ctx, b.store, st, r.Seq) {
		if err != nil {
			return r, snapSeq, err
		}
		if err := seen(rec.Token); err != nil {
			return r, snapSeq, err
		}
		e, err := b.events.decode(b.codec, rec)
		if err != nil {
			return r, snapSeq, err
		}
		r.State, r.Seq = b.apply(r.State, e), rec.Seq
	}
	return r, snapSeq, nil
}
