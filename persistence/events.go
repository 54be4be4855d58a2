package persistence

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/holdfast-go/holdfast/persistence/journal"
)

// plainEvent is the wire name of events of a concrete type that has no other.
const plainEvent = "event"

// registry knows the event types by wire name and by Go type.
type registry[E any] struct {
	byName map[string]*eventType[E]
	byType map[reflect.Type]*eventType[E]
}

// eventType is one variant of E.
type eventType[E any] struct {
	name    string
	version uint16
	typ     reflect.Type
	decode  func(c typeCodec, version uint16, payload []byte) (E, error)
}

func newRegistry[E any]() registry[E] {
	return registry[E]{byName: map[string]*eventType[E]{}, byType: map[reflect.Type]*eventType[E]{}}
}

// Event names a variant of the events of a type: the name is what the journal
// keeps, so the Go type may be renamed. V is E itself when that is a concrete
// type.
func Event[V, S, E any](t *Type[S, E], name string) {
	EventVersion[V](t, name, 1, nil)
}

// EventVersion is [Event] for an event whose schema has changed: new events
// are stored as the given version, and upcast makes a V from the payload of an
// older one. Version 1 is the first. Events of a newer version than this, which
// a newer program may have written during an update, keep their entity from
// starting.
func EventVersion[V, S, E any](t *Type[S, E], name string, version uint16, upcast func(version uint16, payload []byte) (V, error)) {
	typ := reflect.TypeFor[V]()
	switch {
	case len(name) < 1 || len(name) > journal.MaxName:
		t.problem("event name %q must have 1 to %d bytes", name, journal.MaxName)
		return
	case version < 1:
		t.problem("event %q has version 0: versions begin at 1", name)
		return
	case typ.Kind() == reflect.Interface || !typ.AssignableTo(reflect.TypeFor[E]()):
		t.problem("event %q: %v is not one of the events %v", name, typ, reflect.TypeFor[E]())
		return
	case t.events.byName[name] != nil:
		t.problem("event name %q is used twice: give each event its own", name)
		return
	case t.events.byType[typ] != nil:
		t.problem("event type %v is named twice: %q and %q", typ, t.events.byType[typ].name, name)
		return
	}
	t.events.add(&eventType[E]{
		name: name, version: version, typ: typ,
		decode: func(c typeCodec, stored uint16, payload []byte) (E, error) {
			var v V
			var err error
			switch {
			case stored == version:
				err = c.Unmarshal(payload, &v)
			case stored > version:
				err = fmt.Errorf("it has version %d, this program knows up to %d: update the program", stored, version)
			case upcast == nil:
				err = fmt.Errorf("it has version %d and there is no upcast to %d: give one to EventVersion", stored, version)
			default:
				v, err = upcast(stored, payload)
			}
			e, ok := any(v).(E)
			if err == nil && !ok {
				err = errors.New("it decodes to nothing")
			}
			return e, err
		},
	})
}

func (r registry[E]) add(et *eventType[E]) {
	r.byName[et.name] = et
	r.byType[et.typ] = et
}

// plain is the only variant when E is concrete and has no name of its own.
func (r registry[E]) plain() *eventType[E] {
	typ := reflect.TypeFor[E]()
	if typ.Kind() == reflect.Interface || len(r.byName) > 0 {
		return nil
	}
	return &eventType[E]{
		name: plainEvent, version: 1, typ: typ,
		decode: func(c typeCodec, stored uint16, payload []byte) (E, error) {
			var e E
			if stored != 1 {
				return e, fmt.Errorf("it has version %d, this program knows only 1: update the program", stored)
			}
			return e, c.Unmarshal(payload, &e)
		},
	}
}

// complete returns the registry to work with.
func (r registry[E]) complete() registry[E] {
	out := registry[E]{byName: maps.Clone(r.byName), byType: maps.Clone(r.byType)}
	if p := r.plain(); p != nil {
		out.add(p)
	}
	return out
}

func (r registry[E]) problems() []error {
	if len(r.complete().byName) == 0 {
		return []error{fmt.Errorf("events are the interface %v and none is named: name each with Event", reflect.TypeFor[E]())}
	}
	return nil
}

func (r registry[E]) types() []reflect.Type {
	c := r.complete()
	var out []reflect.Type
	for _, name := range slices.Sorted(maps.Keys(c.byName)) {
		out = append(out, c.byName[name].typ)
	}
	return out
}

// encode makes journal events.
func (r registry[E]) encode(c typeCodec, events []E) ([]journal.Event, error) {
	if len(events) == 0 {
		return nil, nil
	}
	out := make([]journal.Event, len(events))
	for i, e := range events {
		et := r.byType[reflect.TypeOf(e)]
		if et == nil {
			return nil, fmt.Errorf("event %T has no name: give it one with Event", e)
		}
		payload, err := c.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("event %q: %w", et.name, err)
		}
		out[i] = journal.Event{Type: et.name, Version: et.version, Payload: payload}
	}
	return out, nil
}

// decode makes an event from what the journal kept.
func (r registry[E]) decode(c typeCodec, e journal.Recorded) (E, error) {
	et := r.byName[e.Type]
	if et == nil {
		var zero E
		return zero, fmt.Errorf("event %d is a %q, which this program does not know: name it with Event, or update the program", e.Seq, e.Type)
	}
	v, err := et.decode(c, e.Version, e.Payload)
	if err != nil {
		return v, fmt.Errorf("event %d, a %q, cannot be decoded: %w", e.Seq, e.Type, err)
	}
	return v, nil
}

// losesFields reports a field that JSON would leave out without a word: the
// history would be silently incomplete.
func losesFields(what string, typ reflect.Type) error {
	if path := unexported(typ, 8); path != "" {
		return fmt.Errorf("%s %v would lose its unexported field %s: export it, implement json.Marshaler, or set a Codec", what, typ, path)
	}
	return nil
}

// unexported returns the path of a field that is not exported, looking at most
// depth levels down; "" for none.
func unexported(typ reflect.Type, depth int) string {
	if depth == 0 || knowsItself(typ) || knowsItself(reflect.PointerTo(typ)) {
		return ""
	}
	switch typ.Kind() { // all other kinds have no fields
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return unexported(typ.Elem(), depth-1)
	case reflect.Struct:
		for f := range typ.Fields() {
			if f.Tag.Get("json") == "-" {
				continue // left out on purpose
			}
			if !f.IsExported() && !f.Anonymous {
				return f.Name
			}
			if path := unexported(f.Type, depth-1); path != "" {
				return f.Name + "." + path
			}
		}
	}
	return ""
}

// knowsItself reports whether a type has its own encoding.
func knowsItself(typ reflect.Type) bool {
	if typ.Implements(reflect.TypeFor[json.Marshaler]()) || typ.Implements(reflect.TypeFor[encoding.TextMarshaler]()) {
		return true
	}
	// Generated protobuf messages have this method and fields of their own.
	_, isProto := typ.MethodByName("ProtoReflect")
	return isProto
}
