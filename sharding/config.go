package sharding

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/actor"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// Config of [Regions]. The zero value of a field means its default.
type Config struct {
	// Cluster gives the table and the session. Required.
	Cluster Cluster
	// Transport carries calls to other nodes. Required.
	Transport remote.Transport
	// Actors runs the entities. It must outlive Run. Required.
	Actors *actor.System
	// Entities are the types this node hosts and calls.
	Entities []Entity

	// BufferCalls bounds the calls that wait for one shard while it has no owner
	// that takes them, and separately those that wait here for the table to show
	// this node as owner. Calls that an owner gave back may use as many again.
	// Defaults to 1000.
	BufferCalls int
	// BufferBytes is the same bound in bytes. Defaults to 1 MiB.
	BufferBytes int
	// NodeBufferCalls bounds the waiting calls of all shards. Defaults to 50000.
	NodeBufferCalls int
	// NodeBufferBytes is the same bound in bytes. Defaults to 64 MiB.
	NodeBufferBytes int

	// BarrierTimeout is how long an owner that hands a shard over waits for the
	// other nodes' word that they send nothing more. Defaults to 3 s.
	BarrierTimeout time.Duration
	// DrainTimeout is how long entities may then work on what they hold; after it
	// they are stopped after their current call. Defaults to 5 s.
	DrainTimeout time.Duration
	// StopTimeout is how long that current call, and the entity's Stop, may take
	// before the shard is given away without them. Defaults to 2 s.
	StopTimeout time.Duration
	// StartTimeout bounds an entity's Start. Defaults to 30 s.
	StartTimeout time.Duration
	// SettleTimeout is how long a node waits for a lost owner to give calls back
	// before it sends to the new owner; after an orderly move it waits up to
	// eight times as long. Defaults to 250 ms.
	SettleTimeout time.Duration
	// ParkTimeout is how long a call waits for this node's table to reach the
	// assignment it was sent for. Defaults to 2 s.
	ParkTimeout time.Duration

	// Logger defaults to slog.Default().
	Logger *slog.Logger
	Events Events
}

// Events tell what happens. Each may be nil. They must not block and must not
// call back into the regions.
type Events struct {
	// ShardStarted: this node takes calls for a shard from now on.
	ShardStarted func(k placement.Key, epoch uint64)
	// ShardStopped: the last entity of a shard has left this node.
	ShardStopped func(k placement.Key, epoch uint64, s ShardStop)
	// TellLost: a Tell was lost or refused after it was taken.
	TellLost func(e *Error)
	// EntityFailed: user code panicked, or failed to start.
	EntityFailed func(entityType, id string, err error)
}

// ShardStop says how a shard left this node.
type ShardStop struct {
	// Took is the time from the decision until the last entity had stopped.
	Took time.Duration
	// Entities that were in memory at the decision.
	Entities int
	// Cut: entities were stopped before they had worked off what they held.
	Cut bool
	// Abandoned entities had not stopped by the deadline.
	Abandoned int
	// MissingBarriers is the number of nodes that had not reported in time.
	MissingBarriers int
}

func (c Config) withDefaults() Config {
	c.BufferCalls = cmp.Or(c.BufferCalls, 1000)
	c.BufferBytes = cmp.Or(c.BufferBytes, 1<<20)
	c.NodeBufferCalls = cmp.Or(c.NodeBufferCalls, 50_000)
	c.NodeBufferBytes = cmp.Or(c.NodeBufferBytes, 64<<20)
	c.BarrierTimeout = cmp.Or(c.BarrierTimeout, 3*time.Second)
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 5*time.Second)
	c.StopTimeout = cmp.Or(c.StopTimeout, 2*time.Second)
	c.StartTimeout = cmp.Or(c.StartTimeout, 30*time.Second)
	c.SettleTimeout = cmp.Or(c.SettleTimeout, 250*time.Millisecond)
	c.ParkTimeout = cmp.Or(c.ParkTimeout, 2*time.Second)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Validate reports all problems at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Cluster == nil {
		errs = append(errs, errors.New("sharding: Config.Cluster is nil: give the cluster"))
	}
	if c.Transport == nil {
		errs = append(errs, errors.New("sharding: Config.Transport is nil: give the node's transport"))
	}
	if c.Actors == nil {
		errs = append(errs, errors.New("sharding: Config.Actors is nil: give an actor system"))
	}
	for _, f := range []struct {
		name string
		v    int
	}{
		{"BufferCalls", c.BufferCalls},
		{"BufferBytes", c.BufferBytes},
		{"NodeBufferCalls", c.NodeBufferCalls},
		{"NodeBufferBytes", c.NodeBufferBytes},
	} {
		if f.v < 1 {
			errs = append(errs, fmt.Errorf("sharding: Config.%s is %d: it must be at least 1, or 0 for the default", f.name, f.v))
		}
	}
	if c.NodeBufferCalls < c.BufferCalls || c.NodeBufferBytes < c.BufferBytes {
		errs = append(errs, errors.New("sharding: Config.NodeBufferCalls and NodeBufferBytes must not be below BufferCalls and BufferBytes"))
	}
	for _, f := range []struct {
		name string
		v    time.Duration
	}{
		{"BarrierTimeout", c.BarrierTimeout},
		{"DrainTimeout", c.DrainTimeout},
		{"StopTimeout", c.StopTimeout},
		{"StartTimeout", c.StartTimeout},
		{"SettleTimeout", c.SettleTimeout},
		{"ParkTimeout", c.ParkTimeout},
	} {
		if f.v < 0 {
			errs = append(errs, fmt.Errorf("sharding: Config.%s is %s: it must be positive, or 0 for the default", f.name, f.v))
		}
	}
	seen := map[string]bool{}
	for i, e := range c.Entities {
		if e == nil {
			errs = append(errs, fmt.Errorf("sharding: Config.Entities[%d] is nil", i))
			continue
		}
		def := e.Definition().WithDefaults()
		if err := def.Validate(); err != nil {
			errs = append(errs, err)
		}
		if def.Mailbox > actor.MaxMailbox-marks {
			errs = append(errs, fmt.Errorf("sharding: entity type %q: Mailbox is %d: at most %d", def.Name, def.Mailbox, actor.MaxMailbox-marks))
		}
		if seen[def.Name] {
			errs = append(errs, fmt.Errorf("sharding: Config.Entities has type %q twice", def.Name))
		}
		seen[def.Name] = true
	}
	return errors.Join(errs...)
}
