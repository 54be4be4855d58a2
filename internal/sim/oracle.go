package sim

import (
	"cmp"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/sharding"
)

// Violation is a promise that was broken.
type Violation struct {
	// Invariant by its name in docs/invariants.md, or "table" for the replicated
	// table itself.
	Invariant string
	Text      string
	// At is the virtual time since the history began.
	At time.Duration
}

// String returns the violation on one line.
func (v Violation) String() string {
	return fmt.Sprintf("%9s  %s: %s", v.At.Round(time.Millisecond), v.Invariant, v.Text)
}

// maxViolations bounds what one history reports.
const maxViolations = 20

// oracle watches a history and knows when a promise is broken.
type oracle struct {
	began time.Time

	mu          sync.Mutex
	violations  []Violation
	stats       Stats
	activations uint64
	// live holds the activations in memory by shard, running those that execute.
	live map[int]map[*activation]bool
	// top is the newest assignment under which a shard was executed.
	top map[int]journal.Token
	// tokens is the newest token under which a shard's write was accepted.
	tokens map[journal.Shard]journal.Token
	// read is the newest activation that has read a stream: that of the newest
	// assignment, and the latest of it. A node that was paused while it started
	// an entity may read long after others took over; that obliges nobody.
	read   map[string]*activation
	tables map[tableAt]tableSeen
	ops    []*op
	// newest generation and led, the processes that have led, for the figures.
	newest uint64
	led    map[member.NodeID]bool
	steps  uint64 // order of the begins and ends of calls
}

type tableAt struct{ generation, index uint64 }

type tableSeen struct {
	hash uint64
	by   member.NodeID
}

func newOracle() *oracle {
	return &oracle{
		began: time.Now(), live: map[int]map[*activation]bool{}, top: map[int]journal.Token{},
		tokens: map[journal.Shard]journal.Token{}, read: map[string]*activation{}, tables: map[tableAt]tableSeen{}, led: map[member.NodeID]bool{},
	}
}

func (o *oracle) count(n *int) {
	o.mu.Lock()
	*n++
	o.mu.Unlock()
}

// broken notes a violation; the lock must be held.
func (o *oracle) broken(invariant, format string, args ...any) {
	if len(o.violations) < maxViolations {
		o.violations = append(o.violations, Violation{invariant, fmt.Sprintf(format, args...), time.Since(o.began)})
	}
}

// report is broken for callers without the lock.
func (o *oracle) report(invariant, format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.broken(invariant, format, args...)
}

// failed reports whether something is wrong already.
func (o *oracle) failed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.violations) > 0
}

func (o *oracle) activated(p *process, a *sharding.Activation) *activation {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.activations++
	o.stats.Activations++
	out := &activation{
		p: p, order: o.activations, shard: a.Shard, id: a.ID, generation: a.Generation, epoch: a.Epoch, valid: a.Valid,
	}
	if o.live[a.Shard] == nil {
		o.live[a.Shard] = map[*activation]bool{}
	}
	o.live[a.Shard][out] = false
	return out
}

func (o *oracle) passivated(a *activation) {
	if a == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.live[a.shard], a)
}

// executes is called when an entity begins to run a call.
func (o *oracle) executes(a *activation) {
	if a.p.dead.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stats.Executions++
	o.live[a.shard][a] = true
	if !a.valid() {
		if since := a.invalidFor(); since > 0 {
			o.broken("I1", "%s executes %s (shard %d, generation %d, epoch %d), whose gate closed %v ago", a.p.self, a.id, a.shard, a.generation, a.epoch, since)
		}
		return
	}
	o.exclusive(a.shard)
	at := journal.Token{Generation: a.generation, Epoch: a.epoch}
	if at.Compare(o.top[a.shard]) < 0 {
		o.broken("I1", "%s executes %s (shard %d) under generation %d epoch %d after %d/%d was executed",
			a.p.self, a.id, a.shard, a.generation, a.epoch, o.top[a.shard].Generation, o.top[a.shard].Epoch)
	} else {
		o.top[a.shard] = at
	}
}

func (o *oracle) executed(a *activation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.live[a.shard][a]; ok {
		o.live[a.shard][a] = false
	}
}

// exclusive checks that at most one node has activations of a shard whose
// gates are open.
func (o *oracle) exclusive(shard int) {
	var first *activation
	for a := range o.live[shard] {
		switch {
		case a.p.dead.Load() || !a.valid():
		case first == nil || a.p == first.p:
			first = a
		default:
			o.broken("I1", "shard %d may be executed by %s (generation %d, epoch %d) and %s (%d, %d)",
				shard, first.p.self, first.generation, first.epoch, a.p.self, a.generation, a.epoch)
			return
		}
	}
}

// appended is called for each write that reached the store, in its order.
func (o *oracle) appended(a *activation, w *journal.Append, r journal.Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.Err != nil {
		o.stats.Refused++
		return
	}
	o.stats.Writes++
	if last := o.tokens[w.Stream.Shard]; w.Token.Compare(last) < 0 {
		o.broken("I2", "a write of %s/%s under token %+v was accepted after one under %+v", w.Stream.Type, w.Stream.ID, w.Token, last)
	} else {
		o.tokens[w.Stream.Shard] = w.Token
	}
	if a == nil {
		o.broken("I2", "a write of %s/%s belongs to no activation", w.Stream.Type, w.Stream.ID)
		return
	}
	if reader := o.read[w.Stream.ID]; reader != nil && reader.newer(a) {
		o.broken("I2", "a write of activation %d of %s/%s was accepted after activation %d had read the history", a.order, w.Stream.Type, w.Stream.ID, reader.order)
	}
}

// loaded is called when an activation reads its history.
func (o *oracle) loaded(a *activation, st journal.Stream) {
	if a == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if last := o.read[st.ID]; last == nil || a.newer(last) {
		o.read[st.ID] = a
	}
}

// newer orders activations by their assignment and then by when they began.
func (a *activation) newer(b *activation) bool {
	return cmp.Or(cmp.Compare(a.generation, b.generation), cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.order, b.order)) > 0
}

// tableSeen compares a table with what other nodes had at the same index.
func (o *oracle) tableSeen(p *process, generation, index, hash uint64) {
	if p.dead.Load() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	at := tableAt{generation, index}
	seen, ok := o.tables[at]
	switch {
	case !ok:
		o.tables[at] = tableSeen{hash, p.self.ID}
	case seen.hash != hash:
		o.broken("table", "generation %d index %d is not the same on %s and %s", generation, index, seen.by, p.self.ID)
	}
}

// watch looks at all processes at one moment, at which nothing moves.
func (o *oracle) watch(procs []*process) {
	generations := map[uint64]member.NodeID{}
	owners := map[int][]member.NodeID{}
	var leaders []*process
	for _, p := range procs {
		if p.dead.Load() || !p.cluster.SessionValid() {
			continue
		}
		generations[p.tr.Generation()] = p.self.ID // a joiner's table may not say it yet
		if p.cluster.Leads() {
			leaders = append(leaders, p)
		}
		p.follower.owns(func(shard int) { owners[shard] = append(owners[shard], p.self.ID) })
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for g := range generations {
		if g > o.newest {
			o.newest = g
			o.stats.Generations++
		}
	}
	for _, p := range leaders {
		if !o.led[p.self.ID] {
			o.led[p.self.ID] = true
			o.stats.Leaders++
		}
	}
	if len(generations) > 1 {
		o.broken("I6", "%d generations have sessions: %v", len(generations), generations)
	}
	for shard, ids := range owners {
		if len(ids) > 1 {
			o.broken("I1", "shard %d belongs to %v, which all have a session", shard, ids)
		}
	}
	for shard, as := range o.live {
		if len(as) > 1 {
			o.exclusive(shard)
		}
		for a := range as {
			a.sample()
		}
	}
}

// begin notes a call that a caller makes.
func (o *oracle) begin(p *op) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.steps++
	p.begin, p.beganAt = o.steps, time.Since(o.began)
	o.ops = append(o.ops, p)
	o.stats.Calls++
}

// end notes how a call ended.
func (o *oracle) end(p *op, reply statement, err error, unheard bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.steps++
	p.end, p.endedAt, p.reply, p.err = o.steps, time.Since(o.began), reply, err
	switch code := sharding.CodeOf(err); {
	case unheard:
		p.outcome = unknown
	case err == nil:
		p.outcome = done
		o.stats.Replies++
	case code == sharding.Rejected:
		p.outcome = rejected
		o.stats.Replies++
	case sharding.MayHaveRun(err):
		p.outcome = unknown
		o.stats.Unknown++
	default:
		p.outcome = notRun
		o.stats.NotRun++
	}
	if late := p.endedAt - p.beganAt - p.timeout; !unheard && p.kind != tell && late > 10*time.Millisecond {
		o.broken("I4", "%s ended %v after its deadline: %v", p, late, err)
	}
}
