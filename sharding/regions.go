package sharding

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// Regions is a node's share of all its entity types: it routes calls made on
// this node, and runs the entities of the shards that this node owns. It is a
// [Router] and safe for concurrent use.
type Regions struct {
	cfg     Config
	self    member.Node
	began   time.Time
	regions map[string]*region
	calls   *callPool

	// base is the ctx of everything entities do; it ends with Run.
	base context.Context //nolint:containedctx // a lifetime: calls that start entities end before them
	stop context.CancelFunc

	membersMu sync.RWMutex
	members   map[member.NodeID]member.Member
	// generation and index of the table that has been taken in.
	generation, index atomic.Uint64

	closing, stopped, ran atomic.Bool
	waiting               waiting
	steerList             steerList
	releases              releases

	markPassivate, markStop *call
}

// NewRegions validates cfg, sets the receiver of the service "sharding" on the
// transport and starts to follow the table. Calls wait until Run runs.
func NewRegions(cfg Config) (*Regions, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	base, stop := context.WithCancel(context.Background())
	r := &Regions{
		cfg:           cfg,
		self:          cfg.Cluster.Self(),
		began:         time.Now(),
		regions:       map[string]*region{},
		calls:         newCallPool(),
		base:          base,
		stop:          stop,
		members:       map[member.NodeID]member.Member{},
		waiting:       waiting{maxCalls: int64(cfg.NodeBufferCalls), maxBytes: int64(cfg.NodeBufferBytes)},
		steerList:     steerList{bell: make(chan struct{}, 1)},
		releases:      releases{ops: map[placement.Key]placement.Op{}, bell: make(chan struct{}, 1)},
		markPassivate: &call{mark: markPassivate},
		markStop:      &call{mark: markStop},
	}
	for _, e := range cfg.Entities {
		def := e.Definition().WithDefaults()
		region := &region{set: r, def: def, slots: make([]slot, def.Shards)}
		for i := range region.slots {
			region.slots[i].region, region.slots[i].shard = region, i
		}
		r.regions[def.Name] = region
	}
	cfg.Transport.Handle(service, r.receive)
	cfg.Cluster.Observe(r)
	return r, nil
}

// prepare checks a call and gives it its slot.
func (r *Regions) prepare(ctx context.Context, entityType, id string, m *MethodDef) (*slot, string, *Error) {
	fail := func(code Code, err error) *Error { return &Error{Code: code, Type: entityType, ID: id, Err: err} }
	region := r.regions[entityType]
	if region == nil {
		return nil, "", fail(UnknownType, fmt.Errorf("node %s does not host entity type %q: list it in Config.Entities", r.self.ID, entityType))
	}
	if err := checkID(id); err != nil {
		return nil, "", fail(Malformed, err)
	}
	if region.def.Methods[m.Name] != m {
		return nil, "", fail(UnknownMethod, fmt.Errorf("method %q was not made for the entity type %q that this node hosts", m.Name, entityType))
	}
	commandID, ok := CommandIDFrom(ctx)
	if ok {
		if err := checkCommandID(commandID); err != nil {
			return nil, "", fail(Malformed, err)
		}
	}
	return &region.slots[ShardOf(id, len(region.slots))], commandID, nil
}

func (r *Regions) newCall(s *slot, m *MethodDef, id, commandID string, request any, deadline time.Time) (*call, *Error) {
	c := r.calls.get()
	c.slot, c.def, c.id, c.commandID, c.request, c.deadline = s, m, id, commandID, request, deadline
	if commandID != "" {
		if err := c.encode(); err != nil {
			r.calls.put(c)
			return nil, err
		}
	}
	return c, nil
}

// RouteAsk implements Router.
func (r *Regions) RouteAsk(ctx context.Context, entityType, id string, m *MethodDef, request any) (any, error) {
	s, commandID, failure := r.prepare(ctx, entityType, id, m)
	if failure != nil {
		return nil, failure
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(DefaultTimeout)
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	var wait time.Duration
	var open *Error // a failure after which an earlier attempt may have run
	for {
		c, failure := r.newCall(s, m, id, commandID, request, deadline)
		if failure != nil {
			return nil, failure
		}
		v, failure := r.attempt(ctx, s, c)
		if failure == nil {
			return v, nil
		}
		if failure.Code == Lost {
			open = failure
		}
		again := failure.Code == Unavailable || failure.Code == Lost && (commandID != "" || m.ReadOnly)
		if again && ctx.Err() == nil {
			wait = min(max(2*wait, backoffMin), backoffMax)
			if sleep(ctx, jitter(wait)) {
				continue
			}
		}
		return nil, settleFailure(failure, open, ctx.Err())
	}
}

// settleFailure is what the caller gets after the last attempt: when an earlier
// one may have run, the last must not say that nothing has.
func settleFailure(last, open *Error, cause error) *Error {
	if open == nil || last.Code.MayHaveRun() {
		return last
	}
	if last.Code == Rejected || last.Code == CommandReused {
		return last
	}
	code := Lost
	if cause != nil {
		code = Timeout
	}
	return &Error{Code: code, Type: last.Type, ID: last.ID, Err: fmt.Errorf("%w (an earlier attempt: %w)", last.Err, open.Err)}
}

// sleep waits for d; it returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// attempt sends the call once and waits for its end.
func (r *Regions) attempt(ctx context.Context, s *slot, c *call) (any, *Error) {
	if err := s.submit(ctx, c); err != nil {
		r.calls.put(c)
		return nil, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		if err, left := s.abandon(c, context.Cause(ctx)); left {
			// Somebody may still hold it, so it is not used again.
			return nil, err
		}
		<-c.done
	}
	res := c.result
	def, id := c.def, c.id
	r.calls.put(c)
	if res.err != nil || !res.remote {
		return res.value, res.err
	}
	v, err := guardDecode(def.DecodeReply, res.payload)
	if err != nil {
		return nil, &Error{Code: Failed, Type: s.region.def.Name, ID: id, Err: fmt.Errorf("reply of method %q, which has run: %w", def.Name, err)}
	}
	return v, nil
}

// RouteTell implements Router.
func (r *Regions) RouteTell(ctx context.Context, entityType, id string, m *MethodDef, request any) error {
	s, commandID, failure := r.prepare(ctx, entityType, id, m)
	if failure != nil {
		return failure
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(DefaultTimeout)
	}
	if err := ctx.Err(); err != nil {
		return &Error{Code: Unavailable, Type: entityType, ID: id, Err: context.Cause(ctx)}
	}
	c, failure := r.newCall(s, m, id, commandID, request, deadline)
	if failure != nil {
		return failure
	}
	c.tell = true
	if failure := s.submit(ctx, c); failure != nil {
		r.calls.put(c)
		return failure
	}
	return nil
}

// waiting counts what waits on this node, over all shards.
type waiting struct {
	calls, bytes       atomic.Int64
	maxCalls, maxBytes int64
}

func (w *waiting) take(bytes int) bool {
	w.force(bytes)
	if w.calls.Load() <= w.maxCalls && w.bytes.Load() <= w.maxBytes {
		return true
	}
	w.give(bytes)
	return false
}

func (w *waiting) force(bytes int) {
	w.calls.Add(1)
	w.bytes.Add(int64(bytes))
}

func (w *waiting) give(bytes int) {
	w.calls.Add(-1)
	w.bytes.Add(-int64(bytes))
}
