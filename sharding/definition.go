package sharding

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/sharding/placement"
)

// Entity is what a node hosts: the definition of an entity type. Types made
// by [NewType] and by package persistence implement it.
type Entity interface {
	Definition() *Definition
}

// Definition is an entity type with its Go types erased.
type Definition struct {
	// Name of the type on the wire and in the journal.
	Name string
	// Shards is the number of shards, part of the join check. Defaults to 1000.
	Shards int
	// PassivateAfter drops an entity from memory when it has been idle for this
	// long. Defaults to 2 minutes; negative means never.
	PassivateAfter time.Duration
	// Mailbox bounds the commands that wait for one entity. Defaults to 1000.
	Mailbox int
	// Methods by wire name.
	Methods map[string]*MethodDef
	// New returns the behaviour of one activation, before Start.
	New func() Behavior
	// Err reports what went wrong while the definition was built; a node with
	// such a definition does not start.
	Err error
}

// Defaults of a definition.
const (
	DefaultShards         = 1000
	DefaultPassivateAfter = 2 * time.Minute
	DefaultMailbox        = 1000
)

// WithDefaults returns a copy with defaults in place of zero values.
func (d Definition) WithDefaults() Definition {
	d.Shards = cmp.Or(d.Shards, DefaultShards)
	d.PassivateAfter = cmp.Or(d.PassivateAfter, DefaultPassivateAfter)
	d.Mailbox = cmp.Or(d.Mailbox, DefaultMailbox)
	return d
}

// Validate reports everything that is wrong with a definition that has its
// defaults.
func (d Definition) Validate() error {
	var errs []error
	if d.Err != nil {
		errs = append(errs, d.Err)
	}
	if err := checkName("type", d.Name); err != nil {
		errs = append(errs, err)
	}
	if d.Shards < 1 || d.Shards > placement.MaxShards {
		errs = append(errs, fmt.Errorf("field Shards is %d: it must be 1 to %d", d.Shards, placement.MaxShards))
	}
	if d.Mailbox < 1 {
		errs = append(errs, fmt.Errorf("field Mailbox is %d: it must be at least 1", d.Mailbox))
	}
	if len(d.Methods) == 0 {
		errs = append(errs, errors.New("no method: add one with Handle"))
	}
	if d.New == nil {
		errs = append(errs, errors.New("field New is nil: set the function that makes a Behavior"))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Methods)) {
		m := d.Methods[name]
		if err := checkName("method", name); err != nil {
			errs = append(errs, err)
			continue
		}
		if m == nil || m.Name != name || m.EncodeRequest == nil || m.DecodeRequest == nil || m.EncodeReply == nil || m.DecodeReply == nil {
			errs = append(errs, fmt.Errorf("method %q is incomplete: make it with MakeMethod", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sharding: entity type %q: %w", d.Name, err)
	}
	return nil
}

// maxName bounds the names of types and methods in bytes.
const maxName = 128

func checkName(what, name string) error {
	if len(name) < 1 || len(name) > maxName || !utf8.ValidString(name) {
		return fmt.Errorf("%s name %q: it must be 1 to %d bytes of valid UTF-8", what, name, maxName)
	}
	return nil
}

// MethodDef is a method with its Go types erased.
type MethodDef struct {
	// Name on the wire.
	Name string
	// ReadOnly says that running the method twice is the same as running it once
	// or never: Ask repeats it even when an attempt may have run.
	ReadOnly bool
	// DecodeRequest and the others translate between Go values and bytes. They
	// are not used for calls that stay within a node, except that commands with
	// an id are always encoded, for the hash.
	EncodeRequest func(v any) ([]byte, error)
	DecodeRequest func(b []byte) (any, error)
	EncodeReply   func(v any) ([]byte, error)
	DecodeReply   func(b []byte) (any, error)
	// Invoke is set and interpreted by the package that made the definition.
	Invoke any
}

// Behavior is one entity in memory. All its methods are called by one
// goroutine at a time.
type Behavior interface {
	// Start prepares the entity before its first call, for example by replay.
	// An error fails the calls that wait for the entity, which is dropped and
	// tried again by the next call.
	Start(ctx context.Context, a *Activation) error
	// Handle runs one call. A refusal by the domain is an error made by Reject.
	// An *Error with a code is passed on; ErrStop wrapped in err, with or
	// without a code, drops the entity from memory afterwards, so that the next
	// call starts it afresh.
	Handle(ctx context.Context, c *Call) (reply any, err error)
	// Stop is called once before an entity whose Start was called leaves
	// memory, also after Start or Handle failed or panicked.
	Stop(ctx context.Context)
}

// Activation says which entity a Behavior is and under which ownership it runs.
type Activation struct {
	Type  string
	ID    string
	Shard int
	// Generation and Epoch of the assignment.
	Generation, Epoch uint64
	// Node that executes it.
	Node string
	// Valid reports whether this node may still execute the entity: its
	// session is held and the shard is still its own. The region checks it
	// before Handle and before a reply leaves.
	Valid func() bool
	// StopShard tells the region that the store fenced this shard: it stops
	// all entities of the shard at this epoch.
	StopShard func(cause error)
}

// Call is one command or query. It must not be kept after Handle has returned.
type Call struct {
	Method *MethodDef
	// Request is the decoded request.
	Request any
	// Raw is the encoded request; set when the call came from another node or
	// has a command id.
	Raw []byte
	// CommandID is "" unless the caller gave one.
	CommandID string
}
