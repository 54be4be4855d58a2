package sharding

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// hostState is where a shard on this node stands.
//
//	takes ──Moving──> barriers ──all in, or time is up──> stops ──empty──> stopped
//	  └────────────── revoked, fenced, closing ────────────▲
type hostState uint8

const (
	hostTakes    hostState = iota // takes calls from everywhere
	hostBarriers                  // still takes what was sent before the barriers
	hostStops                     // takes nothing; entities work off what they hold
	hostStopped                   // no entity is left
)

// host is one assignment of a shard to this node.
type host struct {
	slot              *slot
	generation, epoch uint64
	ctx               context.Context //nolint:containedctx // the life of the assignment, which calls come and go in
	cancel            context.CancelFunc

	// valid turns false, for good, when the shard is no longer this node's.
	valid atomic.Bool
	// cut: calls that have not begun are given back.
	cut atomic.Bool
	// round counts the session losses that entities noticed: calls accepted
	// before one are all given back, and a node's calls are taken again only
	// after its probe, so that none overtakes another. It is changed under the
	// slot's lock.
	round atomic.Uint32
	// passed is the round in which a node's probe was answered with yes.
	passed map[member.NodeID]uint32

	// Guarded by the slot's lock.
	state    hostState
	entities map[string]*entity
	// arrived holds the members whose barrier is in; awaited those whose barrier
	// is still expected.
	arrived map[member.NodeID]struct{}
	awaited []member.NodeID
	// deadline of the present state.
	deadline time.Time
	began    time.Time // when it began to stop
	stopping ShardStop
	fenced   bool
}

func newHost(s *slot) *host {
	ctx, cancel := context.WithCancel(s.region.set.base)
	h := &host{slot: s, generation: s.generation, epoch: s.row.Epoch, ctx: ctx, cancel: cancel, entities: map[string]*entity{}}
	h.valid.Store(true)
	return h
}

// Valid reports whether this node may execute the shard's entities now.
func (h *host) Valid() bool {
	return h.valid.Load() && h.slot.region.set.cfg.Cluster.SessionValid()
}

// revoke closes the gate because the table gave the shard away, or the store
// fenced it.
func (h *host) revoke() {
	h.valid.Store(false)
	h.cut.Store(true)
	h.cancel()
	h.stopping.Cut = true
}

// sessionLost begins a new round unless that has happened since round.
func (h *host) sessionLost(round uint32) {
	s := h.slot
	s.mu.Lock()
	defer s.unlock()
	if !h.round.CompareAndSwap(round, round+1) {
		return
	}
	if s.open && s.local == h {
		s.refuse(time.Now())
		s.activate()
	}
}

// distrusts reports whether a call of the node was given back, or may yet be,
// and the node may not know: everything it sends before its next probe would
// overtake that call.
func (h *host) distrusts(id member.NodeID) bool {
	if _, ok := h.slot.suspects[id]; ok {
		return true
	}
	round := h.round.Load()
	return round != 0 && h.passed[id] != round
}

// suspect makes the node's calls wait for its probe.
func (s *slot) suspect(id member.NodeID) {
	if s.suspects == nil {
		s.suspects = map[member.NodeID]struct{}{}
	}
	s.suspects[id] = struct{}{}
}

// trust takes a node's calls again.
func (h *host) trust(id member.NodeID) {
	delete(h.slot.suspects, id)
	if round := h.round.Load(); round != 0 {
		if h.passed == nil {
			h.passed = map[member.NodeID]uint32{}
		}
		h.passed[id] = round
	}
}

// fence is Activation.StopShard.
func (h *host) fence(cause error) {
	s := h.slot
	s.mu.Lock()
	defer s.unlock()
	if h.fenced || s.host != h || h.state == hostStopped {
		return
	}
	h.fenced = true
	h.revoke()
	if s.local == h {
		s.open = false
	}
	s.activate()
	key, epoch, log := s.key(), h.epoch, s.region.set.cfg.Logger
	s.later(func() {
		log.Warn("shard is fenced, stopping it", slog.String("shard", key.String()), slog.Uint64("epoch", epoch), slog.Any("error", cause))
	})
}

// advanceHost takes the owner's side as far as it goes and reports whether it
// is on its way to another state.
func (s *slot) advanceHost(now time.Time) (busy bool) {
	set := s.region.set
	for {
		h := s.host
		current := h != nil && s.mine() && h.epoch == s.row.Epoch && h.generation == s.generation
		switch {
		case h == nil || h.state == hostStopped:
			switch {
			case !s.mine():
				return false
			case s.row.State == placement.Running && !current && !set.closing.Load():
				s.startHost()
				return false
			case s.row.State == placement.Moving || current:
				s.release()
			}
			return false
		case h.state == hostStops:
			if !h.advanceStop(now) {
				return true
			}
		case !current || h.fenced || set.closing.Load():
			h.stop(now)
		case h.state == hostTakes:
			if s.row.State != placement.Moving {
				return false
			}
			h.state, h.deadline, h.began = hostBarriers, now.Add(set.cfg.BarrierTimeout), now
			h.awaited = set.senders()
		case h.state == hostBarriers:
			if h.missing() > 0 && now.Before(h.deadline) {
				return true
			}
			h.stopping.MissingBarriers = len(h.awaited)
			h.stop(now)
		}
	}
}

func (s *slot) startHost() {
	s.host = newHost(s)
	s.region.stats.running.Add(1)
	if f := s.region.set.cfg.Events.ShardStarted; f != nil {
		key, epoch := s.key(), s.row.Epoch
		s.later(func() { f(key, epoch) })
	}
}

// missing counts the members that may still send; those that are gone count as
// arrived.
func (h *host) missing() int {
	left := h.awaited[:0]
	for _, id := range h.awaited {
		if _, ok := h.arrived[id]; !ok && h.slot.region.set.sender(id) {
			left = append(left, id)
		}
	}
	h.awaited = left
	return len(left)
}

// stop ends the taking of calls and has the entities stop after what they hold.
func (h *host) stop(now time.Time) {
	cfg := &h.slot.region.set.cfg
	h.state = hostStops
	if h.began.IsZero() {
		h.began = now
	}
	h.stopping.Entities = len(h.entities)
	h.deadline = now.Add(cfg.DrainTimeout)
	if h.cut.Load() {
		h.deadline = now.Add(cfg.StopTimeout)
	}
	if h.slot.local == h {
		h.slot.open = false
	}
	for _, e := range h.entities {
		if e.tellMark(markStop) != nil {
			e.forget() // its actor has ended
		}
	}
}

// advanceStop reports whether the shard has stopped.
func (h *host) advanceStop(now time.Time) bool {
	s := h.slot
	set := s.region.set
	if len(h.entities) > 0 && now.Before(h.deadline) {
		return false
	}
	if len(h.entities) > 0 && !h.cut.Load() {
		h.cut.Store(true)
		h.cancel()
		h.stopping.Cut = true
		h.deadline = now.Add(set.cfg.StopTimeout)
		return false
	}
	h.stopping.Abandoned = len(h.entities)
	h.valid.Store(false)
	h.cut.Store(true)
	h.cancel()
	h.state = hostStopped
	h.abandon()
	h.entities, h.arrived = nil, nil
	h.stopping.Took = now.Sub(h.began)
	s.region.stats.running.Add(-1)
	key, epoch, report := s.key(), h.epoch, h.stopping
	s.later(func() {
		if report.Abandoned > 0 || report.MissingBarriers > 0 {
			set.cfg.Logger.Warn("shard was stopped by force", slog.String("shard", key.String()), slog.Uint64("epoch", epoch),
				slog.Int("entities", report.Entities), slog.Bool("cut", report.Cut), slog.Int("abandoned", report.Abandoned),
				slog.Int("missing_barriers", report.MissingBarriers), slog.Duration("took", report.Took))
		}
		if f := set.cfg.Events.ShardStopped; f != nil {
			f(key, epoch, report)
		}
	})
	return true
}

// abandon ends the calls of this node that entities hold which did not stop.
func (h *host) abandon() {
	if len(h.entities) == 0 {
		return
	}
	s := h.slot
	for _, e := range h.entities {
		e.lost.Store(true)
		s.region.stats.entities.Add(-1)
	}
	for c := s.out.head; c != nil; {
		next := c.next
		if c.host == h {
			s.out.remove(c)
			c.dead = true
			if c.state.CompareAndSwap(callWaits, callAbandoned) {
				s.conclude(c, result{err: c.fail(Unavailable, errAbandoned)})
			} else {
				s.conclude(c, result{err: c.fail(Lost, errAbandoned)})
			}
		}
		c = next
	}
}

// release has the leader told that this shard has stopped here.
func (s *slot) release() {
	if !s.releasing {
		s.releasing = true
		s.region.set.releases.add(placement.Op{Kind: placement.Release, Key: s.key(), Epoch: s.row.Epoch})
	}
}

// deliverLocal gives a call made on this node to its entity. Neither taken nor
// an error means that this node must not run it now.
func (h *host) deliverLocal(c *call) (err *Error, taken bool) {
	if h.state != hostTakes || !h.Valid() {
		return nil, false
	}
	c.generation, c.epoch, c.decoded = h.generation, h.epoch, true
	// First into the list: from the moment it is delivered the entity has it.
	h.slot.out.push(c)
	if err := h.deliver(c); err != nil {
		h.slot.out.remove(c)
		return err, false
	}
	return nil, true
}

// deliver queues a call with its entity, which is made if need be. The
// conditions have been checked and the slot's lock is held.
func (h *host) deliver(c *call) *Error {
	c.host, c.round = h, h.round.Load()
	for range 2 {
		e := h.entities[c.id]
		if e == nil {
			var err error
			if e, err = h.spawn(c.id); err != nil {
				return c.fail(Unavailable, err)
			}
		}
		if int(e.queued.Load()) >= h.slot.region.def.Mailbox {
			h.slot.region.stats.overloads.Add(1)
			return c.fail(Overloaded, errMailbox)
		}
		e.queued.Add(1)
		if e.tell(c) == nil {
			return nil
		}
		// Its actor ended without us, for example by runtime.Goexit in user code.
		e.forget()
	}
	return c.fail(Unavailable, errActor)
}
