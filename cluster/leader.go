package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// tick is how often the leader looks at silent members and at the table when
// nothing has changed.
const tick = 50 * time.Millisecond

// leadership is one term of this node as leader. Everything it decides takes
// effect through a commit in that term; raft's own idea of who leads is used
// only to start and stop it.
type leadership struct {
	c     *Cluster
	r     *raft.Raft
	log   *slog.Logger
	term  uint64
	since time.Time
	wake  chan struct{} // there are renewals to confirm
	work  chan struct{} // there may be something to decide

	pushing atomic.Int64 // members that are being kept up to date
	burst   burst        // of placement; only decide touches it

	mu       sync.Mutex
	pending  []renewal
	last     map[member.NodeID]time.Time // arrival of the last renewal
	seen     map[member.NodeID]time.Time // when this leadership first looked at the member
	expiring map[member.NodeID]bool      // Expire or Down proposed, not applied yet
	mute     map[member.NodeID]bool      // its session was ended and it has not renewed since
	told     map[member.NodeID]bool      // is kept up to date by this leadership
	synced   map[member.NodeID]wire.Renew
	floor    time.Time // no session granted by an older leader was renewed after this
	floorSet bool
}

// renewal is one that waits for its confirmation.
type renewal struct {
	req   wire.Renew
	reply func(wire.LeaderReply)
}

func newLeadership(c *Cluster, r *raft.Raft, term uint64) *leadership {
	return &leadership{
		c: c, r: r, term: term, since: time.Now(),
		log:      c.log.With(slog.Uint64("term", term)),
		wake:     make(chan struct{}, 1),
		work:     make(chan struct{}, 1),
		last:     map[member.NodeID]time.Time{},
		seen:     map[member.NodeID]time.Time{},
		expiring: map[member.NodeID]bool{},
		mute:     map[member.NodeID]bool{},
		told:     map[member.NodeID]bool{},
		synced:   map[member.NodeID]wire.Renew{},
	}
}

// run leads until ctx ends.
func (l *leadership) run(ctx context.Context) {
	if err := l.r.Barrier(raftTimeout).Error(); err != nil {
		l.log.InfoContext(ctx, "leadership lost before it began", slog.String("error", err.Error()))
		return
	}
	l.c.replica.setLeader(l.c.self, l.term)
	if !l.formed(ctx) {
		return
	}
	l.log.InfoContext(ctx, "leading", slog.Uint64("generation", l.c.generation.Load()))
	l.c.leading.Store(l)
	defer func() {
		l.c.leading.CompareAndSwap(l, nil)
		l.c.trans.led(l.term)
		l.refuseRenewals()
		l.log.InfoContext(ctx, "no longer leading")
	}()
	l.c.session.poke()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { l.confirmRenewals(ctx) })
	wg.Go(func() { l.findFloor(ctx) })
	wg.Go(func() { l.pushAll(ctx) })
	wg.Go(func() { l.keepVoters(ctx) })
	l.decide(ctx)
}

// formed makes sure that the table's first command is there.
func (l *leadership) formed(ctx context.Context) bool {
	var g uint64
	l.c.replica.read(func(t *table.Table) { g = t.Generation })
	if g != 0 {
		return true
	}
	_, err := l.commit(table.Form{
		Generation: l.c.generation.Load(), Settings: l.c.cfg.Settings, Types: l.c.cfg.Types, Member: l.c.joiner(),
	})
	if err != nil && ctx.Err() == nil {
		l.log.ErrorContext(ctx, "the generation could not be formed", slog.String("error", err.Error()))
		l.c.end(fmt.Errorf("cluster: form generation: %w", err))
	}
	return err == nil
}

// commit proposes a command and returns what it changed.
func (l *leadership) commit(cmd table.Command) (table.Delta, error) {
	raw, err := wire.EncodeCommand(cmd)
	if err != nil {
		return table.Delta{}, err
	}
	f := l.r.Apply(raw, raftTimeout)
	if err := f.Error(); err != nil {
		return table.Delta{}, fmt.Errorf("cluster: commit %T: %w", cmd, err)
	}
	res, ok := f.Response().(result)
	if !ok {
		return table.Delta{}, fmt.Errorf("cluster: commit %T: unexpected response %T", cmd, f.Response())
	}
	return res.delta, res.err
}

// poke asks decide to look again.
func (l *leadership) poke() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// decide is the leader's loop: silent members, life cycle, placement.
func (l *leadership) decide(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	lastRun := time.Now()
	for {
		changed := l.c.replica.change()
		now := time.Now()
		if late := now.Sub(lastRun); late > 4*tick+raftTimeout {
			// This process was paused: everybody only seems silent.
			l.log.WarnContext(ctx, "leader was paused, silence is counted afresh", slog.Duration("late", late))
			l.forgive(now)
		}
		lastRun = now
		l.judge(now)
		l.advance()
		l.place(ctx, now)
		select {
		case <-t.C:
		case <-changed:
		case <-l.work:
		case <-ctx.Done():
			return
		}
	}
}

func (l *leadership) forgive(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.last {
		l.last[id] = now
	}
	l.since = now
}

// silentSince returns the latest moment at which the member may have sent a
// renewal that was confirmed, by this leader or by one before it.
func (l *leadership) silentSince(id member.NodeID) time.Time {
	if at := l.last[id]; at.After(l.floor) {
		return at
	}
	return l.floor
}

// judge ends the sessions of silent members, and downs those that stay silent.
func (l *leadership) judge(now time.Time) {
	t := l.c.cfg.Timing
	grace := 3 * t.Renew // members need time to turn to a new leader
	type verdict struct {
		m      member.Member
		cmd    table.Command
		silent time.Duration
	}
	var verdicts []verdict
	var members []member.Member
	owned := map[member.NodeID]int{}
	expired := map[member.NodeID]uint64{}
	l.c.replica.read(func(tb *table.Table) {
		members = tb.Members()
		for _, m := range members {
			owned[m.ID], expired[m.ID] = tb.Shards.Owned(m.ID), tb.Expired(m.ID)
		}
	})
	l.mu.Lock()
	if !l.floorSet || now.Sub(l.since) < grace {
		l.mu.Unlock()
		return
	}
	for _, m := range members {
		if m.Status == member.Down || l.expiring[m.ID] {
			continue
		}
		if l.seen[m.ID].IsZero() {
			l.seen[m.ID] = now
		}
		silent := now.Sub(l.silentSince(m.ID))
		switch {
		case min(silent, now.Sub(l.seen[m.ID])) > t.expireAfter()+t.StableAfter:
			verdicts = append(verdicts, verdict{m, table.SetStatus{ID: m.ID, Status: member.Down}, silent})
		case silent > t.expireAfter() && owned[m.ID] > 0:
			verdicts = append(verdicts, verdict{m, table.Expire{ID: m.ID}, silent})
		default:
			continue
		}
		l.expiring[m.ID], l.mute[m.ID] = true, true
	}
	l.mu.Unlock()
	for _, v := range verdicts {
		l.log.Info("member is silent", slog.String("member", v.m.String()), slog.String("decision", fmt.Sprintf("%T", v.cmd)),
			slog.Duration("silent", v.silent), slog.Int("shards", owned[v.m.ID]))
		l.sentence(v.m.ID, v.cmd)
	}
}

// sentence commits a command that ends a member's session. While it is on its
// way no renewal of the member is confirmed.
func (l *leadership) sentence(id member.NodeID, cmd table.Command) {
	_, err := l.commit(cmd)
	if err != nil && !errors.Is(err, table.ErrUnknownMember) {
		l.log.Warn("decision was not committed", slog.String("member", string(id)), slog.String("error", err.Error()))
		if l.lost(err) {
			return // it may yet be committed: never confirm again in this term
		}
	}
	l.mu.Lock()
	delete(l.expiring, id)
	l.mu.Unlock()
}

// lost reports whether err means that the fate of a proposal is open.
func (l *leadership) lost(err error) bool {
	return errors.Is(err, raft.ErrLeadershipLost) || errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrRaftShutdown)
}

// certify downs a member whose death is proved: its shards move at once.
func (l *leadership) certify(n member.Node, proof string) {
	m, ok := l.c.View().Find(n.ID)
	if !ok || m.Status == member.Down {
		return
	}
	l.mu.Lock()
	if l.expiring[n.ID] {
		l.mu.Unlock()
		return
	}
	l.expiring[n.ID] = true
	l.mu.Unlock()
	l.log.Info("member is dead", slog.String("member", n.String()), slog.String("proof", proof))
	l.sentence(n.ID, table.SetStatus{ID: n.ID, Status: member.Down})
	l.poke()
}

// advance moves members along their life.
func (l *leadership) advance() {
	var members []member.Member
	l.c.replica.read(func(t *table.Table) { members = t.Members() })
	for _, m := range members {
		switch m.Status {
		case member.Joining:
			l.mu.Lock()
			req, ok := l.synced[m.ID]
			l.mu.Unlock()
			if ok && req.Applied >= m.JoinedAt {
				l.transition(m, member.Up)
			}
		case member.Down, member.Exiting:
			// One that exits waits to hear of its removal: it must be listening
			// to this leadership before it is removed.
			l.mu.Lock()
			hears := l.told[m.ID]
			l.mu.Unlock()
			if m.ID != l.c.self.ID && !l.inRaft(m.ID) && (hears || m.Status == member.Down) {
				l.transition(m, member.Removed)
			}
		case member.Up, member.Leaving, member.Removed:
		}
	}
}

func (l *leadership) transition(m member.Member, to member.Status) {
	if _, err := l.commit(table.SetStatus{ID: m.ID, Status: to}); err != nil {
		l.log.Warn("status change was not committed", slog.String("member", m.String()), slog.String("status", to.String()), slog.String("error", err.Error()))
		return
	}
	l.log.Info("member changed", slog.String("member", m.String()), slog.String("from", m.Status.String()), slog.String("status", to.String()))
	if to == member.Removed {
		l.mu.Lock()
		delete(l.last, m.ID)
		delete(l.synced, m.ID)
		delete(l.seen, m.ID)
		delete(l.mute, m.ID)
		delete(l.told, m.ID)
		l.mu.Unlock()
	}
}

// burst is a run of placement changes that follow from each other.
type burst struct {
	since  time.Time
	shards int
}

// place commits what the placement coordinator wants. The first decision of a
// burst is logged with its reasons, and its end; what follows in between is not.
func (l *leadership) place(ctx context.Context, now time.Time) {
	suspended := func(id member.NodeID) bool { return l.suspended(id, now) }
	var plan placement.Decision
	settled := true
	l.c.replica.read(func(t *table.Table) {
		plan = placement.Plan(placement.Input{Table: t.Shards, Members: t.Members(), Suspended: suspended}, placement.Policy{MaxMoves: l.c.cfg.Moves})
		for _, name := range t.Shards.Types() {
			for _, row := range t.Shards.Shards(name) {
				settled = settled && row.State == placement.Running
			}
		}
	})
	if len(plan.Ops) == 0 {
		if settled && l.burst.shards > 0 {
			l.log.InfoContext(ctx, "placement settled", slog.Int("shards", l.burst.shards), slog.Duration("took", now.Sub(l.burst.since)))
			l.burst = burst{}
		}
		return
	}
	d, err := l.commit(table.Place{Ops: plan.Ops})
	if err != nil {
		l.log.WarnContext(ctx, "placement was not committed", slog.String("error", err.Error()))
		return
	}
	level := slog.LevelDebug
	if l.burst.shards == 0 {
		level, l.burst.since = slog.LevelInfo, now
	}
	l.burst.shards += len(d.Shards)
	reasons := make([]string, len(plan.Reasons))
	for i, r := range plan.Reasons {
		reasons[i] = r.Type + ": " + string(r.Action) + ": " + r.Text
	}
	l.log.Log(ctx, level, "placement changed", slog.Any("reasons", reasons), slog.Int("shards", len(d.Shards)), slog.Uint64("index", d.Index))
}

// suspended reports whether a member must get no shards now because it may be
// gone: its session was ended, or it missed two renewals.
func (l *leadership) suspended(id member.NodeID, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.expiring[id] || l.mute[id] {
		return true
	}
	at := l.since
	if last, ok := l.last[id]; ok && last.After(at) {
		at = last
	}
	return now.Sub(at) > 5*l.c.cfg.Timing.Renew/2
}

// propose commits what a member asks for itself.
func (l *leadership) propose(ctx context.Context, p wire.Propose) wire.LeaderReply {
	m, ok := l.c.View().Find(p.ID)
	switch {
	case p.Generation != l.c.generation.Load():
		return wire.LeaderReply{Refusal: fmt.Sprintf("generation %d is not %d", p.Generation, l.c.generation.Load()), Final: true}
	case !ok || m.Status == member.Down:
		return wire.LeaderReply{Gone: true, Refusal: "this node is not a member any more"}
	}
	for _, op := range p.Ops {
		// A member may only give up what it owns.
		var row placement.Shard
		l.c.replica.read(func(t *table.Table) { row, _ = t.Shards.Get(op.Key) })
		if op.Kind != placement.Release || row.Owner != "" && row.Owner != p.ID && row.Epoch == op.Epoch {
			return wire.LeaderReply{Refusal: fmt.Sprintf("%s is not %s's to release", op.Key, p.ID), Final: true}
		}
	}
	if len(p.Ops) > 0 {
		if _, err := l.commit(table.Place{Ops: p.Ops}); err != nil {
			return wire.LeaderReply{NotLeader: l.lost(err), Refusal: err.Error()}
		}
	}
	if p.Status != 0 && m.Status != p.Status {
		if p.Status != member.Leaving && p.Status != member.Exiting {
			return wire.LeaderReply{Refusal: fmt.Sprintf("a member cannot make itself %s", p.Status), Final: true}
		}
		if _, err := l.commit(table.SetStatus{ID: p.ID, Status: p.Status}); err != nil {
			return wire.LeaderReply{NotLeader: l.lost(err), Refusal: err.Error()}
		}
		l.log.InfoContext(ctx, "member changed", slog.String("member", m.String()), slog.String("from", m.Status.String()), slog.String("status", p.Status.String()))
	}
	l.poke()
	return wire.LeaderReply{OK: true}
}
