package sharding

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var errZeroMethod = errors.New("the zero Method cannot be called: make it with Handle")

// DefaultTimeout is the deadline of a call whose ctx has none.
const DefaultTimeout = 10 * time.Second

// Router carries calls to entities wherever they are. [Regions] is one, and so
// is a whole node.
type Router interface {
	// RouteAsk runs a call and returns its reply, decoded. Errors are *Error.
	RouteAsk(ctx context.Context, entityType, id string, m *MethodDef, request any) (any, error)
	// RouteTell sends a call without waiting for it to run.
	RouteTell(ctx context.Context, entityType, id string, m *MethodDef, request any) error
}

// Method is a typed call to the entities of one type. The zero Method is not
// usable; [Handle] and package persistence make them.
type Method[Q, R any] struct {
	entityType string
	def        *MethodDef
}

// MakeMethod makes a method for a definition of an entity type: the typed end
// for callers, and the erased one to put into Definition.Methods. A nil codec
// means [DefaultCodec]. What invoke is, is up to the Behavior that gets it.
func MakeMethod[Q, R any](entityType, name string, codec Codec, invoke any) (Method[Q, R], *MethodDef) {
	if codec == nil {
		codec = DefaultCodec{}
	}
	def := &MethodDef{
		Name:          name,
		EncodeRequest: codec.Marshal,
		DecodeRequest: func(b []byte) (any, error) { return decode[Q](codec, b) },
		EncodeReply:   codec.Marshal,
		DecodeReply:   func(b []byte) (any, error) { return decode[R](codec, b) },
		Invoke:        invoke,
	}
	return Method[Q, R]{entityType: entityType, def: def}, def
}

func decode[T any](codec Codec, b []byte) (any, error) {
	var v T
	if err := codec.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	return v, nil
}

// Type returns the wire name of the entity type.
func (m Method[Q, R]) Type() string { return m.entityType }

// Name returns the wire name of the method.
func (m Method[Q, R]) Name() string {
	if m.def == nil {
		return ""
	}
	return m.def.Name
}

// Ask calls the method on the entity with the given id and waits for the reply.
//
// ctx is the only deadline; without one the call ends after [DefaultTimeout].
// A failure is an *Error whose Code.MayHaveRun says whether the call may have
// taken effect. Failures that certainly did not run for lack of an owner are
// retried until ctx ends; with a [CommandID], and for methods that only read,
// those that may have run are too.
//
// Calls within a node share q and the reply with the entity without a copy:
// neither side may change what they point to afterwards.
func (m Method[Q, R]) Ask(ctx context.Context, r Router, id string, q Q) (R, error) {
	var zero R
	if m.def == nil {
		return zero, &Error{Code: UnknownMethod, ID: id, Err: errZeroMethod}
	}
	v, err := r.RouteAsk(ctx, m.entityType, id, m.def, q)
	if err != nil {
		return zero, err
	}
	reply, ok := v.(R)
	if !ok && v != nil {
		return zero, &Error{Code: Failed, Type: m.entityType, ID: id, Err: fmt.Errorf("method %q replied with a %T, want %T", m.def.Name, v, zero)}
	}
	return reply, nil
}

// Tell sends the call and returns when it is on its way: with the entity, in
// the queue to its owner, or buffered until the shard has an owner. Calls of
// one goroutine to one entity run in the order they were made. An error means
// that it was not sent; afterwards a call that is lost or refused is counted
// and reported to Events.TellLost.
func (m Method[Q, R]) Tell(ctx context.Context, r Router, id string, q Q) error {
	if m.def == nil {
		return &Error{Code: UnknownMethod, ID: id, Err: errZeroMethod}
	}
	return r.RouteTell(ctx, m.entityType, id, m.def, q)
}
