package persistence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/sharding"
)

// Defaults of Settings.
const (
	DefaultSnapshotEvery = 100
	DefaultAppendTimeout = 5 * time.Second
)

// Settings of an event-sourced type. The zero value of a field means its
// default. Set them before the node starts.
type Settings struct {
	// Settings of every entity type: Shards, PassivateAfter, Mailbox, and the
	// Codec, which is used for requests, replies, events and snapshots.
	sharding.Settings
	// SnapshotEvery is the number of events after which the state is stored, so
	// that the next activation need not replay them. Defaults to 100; negative
	// means never.
	SnapshotEvery int
	// SnapshotVersion names what Apply makes of the events: raise it when S or
	// Apply changes. Snapshots of another version are ignored and the events
	// replayed. Defaults to 0.
	SnapshotVersion int
	// AppendTimeout bounds one write to the journal, whatever deadline the
	// caller has. Defaults to 5 seconds.
	AppendTimeout time.Duration
}

// Type is an event-sourced entity type: S is the state of one entity, E its
// events. A Type is usually a package-level variable; it does not change when
// a node starts, so several nodes of one process may share it.
type Type[S, E any] struct {
	Settings
	name    string
	apply   func(S, E) S
	methods map[string]*sharding.MethodDef
	events  registry[E]
	// messages are the requests and replies of the methods.
	messages []reflect.Type
	errs     []error
}

// Result is an entity as it is after a command or at a query.
type Result[S any] struct {
	// ID of the entity.
	ID string
	// State of the entity. It must not be changed.
	State S
	// Seq is the number of its events so far.
	Seq uint64
}

// NewType returns an entity type with the given name on the wire and in the
// journal. apply is how an event changes the state of an entity, which begins
// as a zero S; it must depend on nothing else, because replay calls it again.
//
// E is the type of all events, stored under the name "event" unless [Event]
// gives it another, or an interface whose variants are named with [Event].
func NewType[S, E any](name string, apply func(S, E) S) *Type[S, E] {
	t := &Type[S, E]{name: name, apply: apply, methods: map[string]*sharding.MethodDef{}, events: newRegistry[E]()}
	if apply == nil {
		t.problem("apply is nil: give the function that applies an event")
	}
	return t
}

func (t *Type[S, E]) problem(format string, args ...any) {
	t.errs = append(t.errs, fmt.Errorf(format, args...))
}

// method is the Invoke of a MethodDef. Exactly one of decide and query is set.
type method[S, E any] struct {
	decide func(ctx context.Context, r Result[S], q any) ([]E, error)
	reply  func(r Result[S]) any
	query  func(ctx context.Context, r Result[S], q any) (any, error)
}

// Handle adds a command: decide says which events it causes, reply what the
// caller gets once they are durable and applied. A refusal is an error made by
// sharding.Reject, and nothing is stored for it unless the command has an id;
// any other error is a failure. Neither function may change the state or act
// on the outside. The name is what travels.
//
// Problems, such as a name used twice, are reported when the node starts.
func Handle[S, E, Q, R any](t *Type[S, E], name string, decide func(S, Q) ([]E, error), reply func(S) R) sharding.Method[Q, R] {
	if decide == nil || reply == nil {
		return HandleResult[S, E, Q, R](t, name, nil, nil)
	}
	return HandleResult(t, name,
		func(_ context.Context, r Result[S], q Q) ([]E, error) { return decide(r.State, q) },
		func(r Result[S]) R { return reply(r.State) })
}

// HandleResult is [Handle] for functions that need more than the state: the
// entity's id, the number of its events, or the ctx of the call.
func HandleResult[S, E, Q, R any](
	t *Type[S, E], name string,
	decide func(ctx context.Context, r Result[S], q Q) ([]E, error),
	reply func(r Result[S]) R,
) sharding.Method[Q, R] {
	m := method[S, E]{
		decide: func(ctx context.Context, r Result[S], q any) ([]E, error) {
			request, err := as[Q](q)
			if err != nil {
				return nil, err
			}
			return decide(ctx, r, request)
		},
		reply: func(r Result[S]) any { return reply(r) },
	}
	return add[S, E, Q, R](t, name, m, decide != nil && reply != nil)
}

// Query adds a method that reads. It writes nothing, and sees every command
// that was acknowledged before it was called: the node answers only while its
// session is valid. A command id makes no difference to it.
func Query[S, E, Q, R any](t *Type[S, E], name string, query func(S, Q) (R, error)) sharding.Method[Q, R] {
	if query == nil {
		return QueryResult[S, E, Q, R](t, name, nil)
	}
	return QueryResult(t, name, func(_ context.Context, r Result[S], q Q) (R, error) { return query(r.State, q) })
}

// QueryResult is [Query] for functions that need more than the state.
func QueryResult[S, E, Q, R any](t *Type[S, E], name string, query func(ctx context.Context, r Result[S], q Q) (R, error)) sharding.Method[Q, R] {
	m := method[S, E]{
		query: func(ctx context.Context, r Result[S], q any) (any, error) {
			request, err := as[Q](q)
			if err != nil {
				return nil, err
			}
			reply, err := query(ctx, r, request)
			if err != nil {
				return nil, err
			}
			return reply, nil
		},
	}
	return add[S, E, Q, R](t, name, m, query != nil)
}

func add[S, E, Q, R any](t *Type[S, E], name string, m method[S, E], complete bool) sharding.Method[Q, R] {
	made, def := sharding.MakeMethod[Q, R](t.name, name, typeCodec{&t.Settings}, m)
	def.ReadOnly = m.query != nil
	switch {
	case t.methods[name] != nil:
		t.problem("method %q is defined twice: give each its own name", name)
	case !complete:
		t.problem("method %q lacks a function", name)
	default:
		t.methods[name] = def
		t.messages = append(t.messages, reflect.TypeFor[Q](), reflect.TypeFor[R]())
	}
	return made
}

func as[Q any](q any) (Q, error) {
	request, ok := q.(Q)
	if !ok && q != nil {
		return request, sharding.Errorf(sharding.Malformed, "request is a %T, want %T", q, request)
	}
	return request, nil
}

// typeCodec reads the type's codec when it is used, because settings may be
// set after the methods were made.
type typeCodec struct{ s *Settings }

func (c typeCodec) codec() sharding.Codec {
	if c.s.Codec != nil {
		return c.s.Codec
	}
	return sharding.DefaultCodec{}
}

func (c typeCodec) Marshal(v any) ([]byte, error)      { return c.codec().Marshal(v) }
func (c typeCodec) Unmarshal(b []byte, into any) error { return c.codec().Unmarshal(b, into) }

// errUnbound is what a node without a store reports.
var errUnbound = errors.New("an event-sourced type keeps its state in a journal: give the node a store")

// Definition implements sharding.Entity. The definition of a type that was not
// bound to a store only carries the error that says so.
func (t *Type[S, E]) Definition() *sharding.Definition {
	d := t.definition()
	d.Err = errors.Join(errUnbound, d.Err)
	d.New = func() sharding.Behavior { return unbound{} }
	return d
}

func (t *Type[S, E]) definition() *sharding.Definition {
	return &sharding.Definition{
		Name:           t.name,
		Shards:         t.Shards,
		PassivateAfter: t.PassivateAfter,
		Mailbox:        t.Mailbox,
		Methods:        t.methods,
		Err:            t.validate(),
	}
}

// validate reports everything that is wrong with the type.
func (t *Type[S, E]) validate() error {
	errs := append([]error(nil), t.errs...)
	if t.SnapshotVersion < 0 {
		errs = append(errs, fmt.Errorf("SnapshotVersion is %d: it must not be negative", t.SnapshotVersion))
	}
	if t.AppendTimeout < 0 {
		errs = append(errs, fmt.Errorf("AppendTimeout is %v: it must be positive", t.AppendTimeout))
	}
	errs = append(errs, t.events.problems()...)
	if t.Codec == nil {
		if t.SnapshotEvery >= 0 {
			errs = append(errs, losesFields("state", reflect.TypeFor[S]()))
		}
		for _, typ := range t.events.types() {
			errs = append(errs, losesFields("event", typ))
		}
		for _, typ := range t.messages {
			errs = append(errs, losesFields("request or reply", typ))
		}
	}
	return errors.Join(errs...)
}

// unbound refuses everything, for whoever ignores Definition.Err.
type unbound struct{}

func (unbound) Start(context.Context, *sharding.Activation) error   { return errUnbound }
func (unbound) Handle(context.Context, *sharding.Call) (any, error) { return nil, errUnbound }
func (unbound) Stop(context.Context)                                {}

func (t *Type[S, E]) shards() int { return cmp.Or(t.Shards, sharding.DefaultShards) }

func (t *Type[S, E]) stream(id string) journal.Stream {
	return journal.Stream{Shard: journal.Shard{Type: t.name, Index: sharding.ShardOf(id, t.shards())}, ID: id}
}
