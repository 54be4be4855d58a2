package persistencetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"github.com/holdfast-go/holdfast/persistence"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/sharding"
)

// The one assignment of every shard.
const (
	generation = 1
	epoch      = 1
	node       = "persistencetest"
)

// Kit runs the entities of one type. It is a sharding.Router; calls run one at
// a time. A new activation handles every call, as if the entity had been
// passivated in between.
type Kit[S, E any] struct {
	t     testing.TB
	typ   *persistence.Type[S, E]
	store *memory.Store
	def   sharding.Definition

	mu sync.Mutex
	// seen is how many events of an entity Given and Then have accounted for.
	seen map[string]uint64
}

// New returns a kit with an empty store. It fails the test when the type is
// not sound.
func New[S, E any](tb testing.TB, typ *persistence.Type[S, E]) *Kit[S, E] {
	tb.Helper()
	k := &Kit[S, E]{t: tb, typ: typ, store: memory.New(), seen: map[string]uint64{}}
	k.bind()
	if err := k.def.Validate(); err != nil {
		tb.Fatal(err)
	}
	return k
}

// bind lets the type claim its shards anew.
func (k *Kit[S, E]) bind() {
	k.def = k.typ.BindStore(k.store, persistence.BindOptions{}).Definition().WithDefaults()
}

// Store returns the kit's store.
func (k *Kit[S, E]) Store() journal.Journal { return k.store }

// Given gives an entity a past, or more of it.
func (k *Kit[S, E]) Given(id string, events ...E) {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	encoded, err := k.typ.EncodeEvents(events...)
	if err != nil {
		k.t.Fatal(err)
	}
	before := k.State(id)
	st := journal.Stream{Shard: journal.Shard{Type: k.def.Name, Index: sharding.ShardOf(id, k.def.Shards)}, ID: id}
	token, err := k.store.Claim(k.t.Context(), st.Shard, generation, epoch, node)
	if err != nil {
		k.t.Fatal(err)
	}
	results := k.store.Append(k.t.Context(), []journal.Append{{Stream: st, Token: token, Expected: before.Seq, Events: encoded}})
	if err := results[0].Err; err != nil {
		k.t.Fatal(err)
	}
	k.seen[id] = results[0].Seq
	k.bind()
	k.check(id)
}

// Then fails the test unless exactly these events have come since the last
// Given or Then.
func (k *Kit[S, E]) Then(id string, want ...E) {
	k.t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	got := []E{}
	for rec, err := range k.typ.History(k.t.Context(), k.store, id, k.seen[id]) {
		if err != nil {
			k.t.Fatal(err)
		}
		got = append(got, rec.Event)
		k.seen[id] = rec.Seq
	}
	if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		k.t.Errorf("entity %q: got events %+v, want %+v", id, got, want)
	}
}

// State returns an entity as it is in the store.
func (k *Kit[S, E]) State(id string) persistence.Result[S] {
	k.t.Helper()
	r, err := k.typ.Load(k.t.Context(), k.store, id)
	if err != nil {
		k.t.Fatal(err)
	}
	return r
}

// RouteAsk implements sharding.Router.
func (k *Kit[S, E]) RouteAsk(ctx context.Context, entityType, id string, m *sharding.MethodDef, request any) (any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if entityType != k.def.Name {
		return nil, &sharding.Error{Code: sharding.UnknownType, Type: entityType, ID: id, Err: fmt.Errorf("the kit runs %q", k.def.Name)}
	}
	reply, err := k.run(ctx, id, m, request)
	k.check(id)
	if err != nil {
		return nil, asError(entityType, id, err)
	}
	return reply, nil
}

// RouteTell implements sharding.Router. It waits for the call to run.
func (k *Kit[S, E]) RouteTell(ctx context.Context, entityType, id string, m *sharding.MethodDef, request any) error {
	_, err := k.RouteAsk(ctx, entityType, id, m, request)
	if errors.Is(err, sharding.ErrStop) || sharding.CodeOf(err) == sharding.Rejected {
		return nil
	}
	return err
}

func (k *Kit[S, E]) run(ctx context.Context, id string, m *sharding.MethodDef, request any) (any, error) {
	raw, err := m.EncodeRequest(request)
	if err != nil {
		return nil, sharding.Errorf(sharding.Malformed, "request of method %q: %w", m.Name, err)
	}
	decoded, err := m.DecodeRequest(raw)
	if err != nil {
		return nil, sharding.Errorf(sharding.Malformed, "request of method %q: %w", m.Name, err)
	}
	b := k.def.New()
	defer b.Stop(ctx)
	err = b.Start(ctx, &sharding.Activation{
		Type: k.def.Name, ID: id, Shard: sharding.ShardOf(id, k.def.Shards), Generation: generation, Epoch: epoch, Node: node,
		Valid:     func() bool { return true },
		StopShard: func(cause error) { k.t.Errorf("entity %q: fenced: %v", id, cause) },
	})
	if err != nil {
		return nil, err
	}
	key, _ := sharding.CommandIDFrom(ctx)
	reply, err := b.Handle(ctx, &sharding.Call{Method: m, Request: decoded, Raw: raw, CommandID: key})
	if err != nil && !onlyStop(err) {
		return nil, err
	}
	out, err := m.EncodeReply(reply)
	if err != nil {
		return nil, sharding.Errorf(sharding.Failed, "reply of method %q: %w", m.Name, err)
	}
	back, err := m.DecodeReply(out)
	if err != nil {
		return nil, sharding.Errorf(sharding.Failed, "reply of method %q: %w", m.Name, err)
	}
	return back, nil
}

// onlyStop reports whether err says nothing but that the entity is to be
// dropped, which the kit does after every call.
func onlyStop(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if !onlyStop(e) {
				return false
			}
		}
		return true
	}
	return err == sharding.ErrStop //nolint:errorlint // the sentinel itself, not a wrapped one
}

func asError(entityType, id string, err error) error {
	if coded, ok := errors.AsType[*sharding.Error](err); ok {
		return &sharding.Error{Code: coded.Code, Type: entityType, ID: id, Err: coded.Err}
	}
	code := sharding.Failed
	if _, refused := sharding.AsRefusal(err); refused {
		code = sharding.Rejected
	}
	return &sharding.Error{Code: code, Type: entityType, ID: id, Err: err}
}

// check replays the entity in the ways a node may come by its state.
func (k *Kit[S, E]) check(id string) {
	k.t.Helper()
	if err := k.typ.Verify(k.t.Context(), k.store, id); err != nil {
		k.t.Error(err)
	}
}
