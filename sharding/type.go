package sharding

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

// Settings of an entity type. The zero value of a field means its default.
// Set them before the node starts.
type Settings struct {
	// Shards is the number of shards; all nodes must agree. Defaults to 1000.
	Shards int
	// PassivateAfter drops an entity from memory when it has been idle for this
	// long. Defaults to 2 minutes; negative means never.
	PassivateAfter time.Duration
	// Mailbox bounds the calls that wait for one entity. Defaults to 1000.
	Mailbox int
	// Codec for requests and replies. Defaults to [DefaultCodec].
	Codec Codec
}

// Type is a plain in-memory entity type: every entity starts as a zero S when
// it is first called and is forgotten when it leaves memory, be it by
// passivation, a move to another node or a crash.
//
// An entity remembers the outcome of its last 128 commands with an id for as
// long as it is in memory.
type Type[S any] struct {
	Settings
	name    string
	methods map[string]*MethodDef
	errs    []error
}

// NewType returns an entity type with the given name on the wire.
func NewType[S any](name string) *Type[S] {
	return &Type[S]{name: name, methods: map[string]*MethodDef{}}
}

// Handle adds a method that runs f, which may change the state in place. A
// refusal is an error made by [Reject]; any other error is a failure, after
// which the entity starts afresh. The name is what travels.
//
// Problems, such as a name used twice, are reported when the node starts.
func Handle[S, Q, R any](t *Type[S], name string, f func(s *S, q Q) (R, error)) Method[Q, R] {
	if f == nil {
		return HandleContext[S, Q, R](t, name, nil)
	}
	return HandleContext(t, name, func(_ context.Context, _ string, s *S, q Q) (R, error) { return f(s, q) })
}

// HandleContext is [Handle] for functions that call others: ctx ends with the
// caller's deadline, or when the shard is taken from this node; id is the
// entity's.
func HandleContext[S, Q, R any](t *Type[S], name string, f func(ctx context.Context, id string, s *S, q Q) (R, error)) Method[Q, R] {
	invoke := func(ctx context.Context, id string, s *S, q any) (any, error) {
		request, ok := q.(Q)
		if !ok && q != nil {
			return nil, Errorf(Malformed, "request is a %T, want %T", q, request)
		}
		r, err := f(ctx, id, s, request)
		if err != nil {
			return nil, err
		}
		return r, nil
	}
	m, def := MakeMethod[Q, R](t.name, name, typeCodec{&t.Settings}, plainInvoke[S](invoke))
	switch {
	case t.methods[name] != nil:
		t.errs = append(t.errs, fmt.Errorf("method %q is defined twice: give each its own name", name))
	case f == nil:
		t.errs = append(t.errs, fmt.Errorf("method %q has no function", name))
	default:
		t.methods[name] = def
	}
	return m
}

// Definition implements Entity.
func (t *Type[S]) Definition() *Definition {
	return &Definition{
		Name:           t.name,
		Shards:         t.Shards,
		PassivateAfter: t.PassivateAfter,
		Mailbox:        t.Mailbox,
		Methods:        t.methods,
		New:            func() Behavior { return &plain[S]{} },
		Err:            errors.Join(t.errs...),
	}
}

// typeCodec reads the type's codec when it is used, because settings may be
// set after the methods were made.
type typeCodec struct{ s *Settings }

func (c typeCodec) Marshal(v any) ([]byte, error) {
	if c.s.Codec != nil {
		return c.s.Codec.Marshal(v)
	}
	return DefaultCodec{}.Marshal(v)
}

func (c typeCodec) Unmarshal(b []byte, into any) error {
	if c.s.Codec != nil {
		return c.s.Codec.Unmarshal(b, into)
	}
	return DefaultCodec{}.Unmarshal(b, into)
}

type plainInvoke[S any] func(ctx context.Context, id string, s *S, q any) (any, error)

// plain is the behaviour of entities of a [Type].
type plain[S any] struct {
	id    string
	state S
	seen  *memory
}

func (p *plain[S]) Start(_ context.Context, a *Activation) error {
	p.id = a.ID
	return nil
}

func (p *plain[S]) Handle(ctx context.Context, c *Call) (any, error) {
	invoke, ok := c.Method.Invoke.(plainInvoke[S])
	if !ok {
		return nil, Errorf(UnknownMethod, "method %q was made for another entity type", c.Method.Name)
	}
	if c.CommandID == "" {
		return p.run(ctx, invoke, c.Request)
	}
	hash := sha256.Sum256(append([]byte(c.Method.Name+"\x00"), c.Raw...))
	if p.seen == nil {
		p.seen = &memory{outcomes: map[string]outcome{}}
	}
	if o, ok := p.seen.outcomes[c.CommandID]; ok {
		if o.hash != hash {
			return nil, Errorf(CommandReused, "command id %q was used with another request: draw a new one", c.CommandID)
		}
		return o.reply, o.err
	}
	reply, err := p.run(ctx, invoke, c.Request)
	if _, refused := AsRefusal(err); err == nil || refused {
		p.seen.add(c.CommandID, outcome{hash: hash, reply: reply, err: err})
	}
	return reply, err
}

func (p *plain[S]) run(ctx context.Context, invoke plainInvoke[S], q any) (any, error) {
	reply, err := invoke(ctx, p.id, &p.state, q)
	if err == nil {
		return reply, nil
	}
	if _, refused := AsRefusal(err); refused {
		return nil, err
	}
	// The state may be half changed: start afresh.
	return nil, errors.Join(err, ErrStop)
}

func (p *plain[S]) Stop(context.Context) {}

// memory is the outcomes of the last commands with an id.
type memory struct {
	outcomes map[string]outcome
	order    [128]string
	next     int
}

type outcome struct {
	hash  [sha256.Size]byte
	reply any
	err   error
}

func (m *memory) add(id string, o outcome) {
	delete(m.outcomes, m.order[m.next])
	m.order[m.next] = id
	m.next = (m.next + 1) % len(m.order)
	m.outcomes[id] = o
}
