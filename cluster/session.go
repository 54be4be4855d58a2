package cluster

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/internal/wire"
)

// session is this node's time-bounded right to execute entities. It is counted
// on the monotonic clock from the moment the renewal was sent, so that it ends
// here before the leader, who counts from its arrival, gives the shards away.
type session struct {
	timing Timing
	base   time.Time
	until  atomic.Int64 // nanoseconds after base; 0 before the first renewal
	over   atomic.Bool
	poked  chan struct{}
}

func (s *session) init(t Timing) {
	s.timing, s.base, s.poked = t, time.Now(), make(chan struct{}, 1)
}

func (s *session) valid() bool {
	return int64(time.Since(s.base)) < s.until.Load() && !s.over.Load()
}

// end gives the session up for good.
func (s *session) end() { s.over.Store(true) }

// extend makes the session valid until TTL after the renewal was sent.
func (s *session) extend(sent time.Time) {
	until := int64(sent.Sub(s.base) + s.timing.SessionTTL)
	for {
		have := s.until.Load()
		if until <= have || s.until.CompareAndSwap(have, until) {
			return
		}
	}
}

// poke asks for a renewal now, for example because there is a new leader.
func (s *session) poke() {
	select {
	case s.poked <- struct{}{}:
	default:
	}
}

// renewSession keeps the session, and gives up when it could not for too long.
func (c *Cluster) renewSession(ctx context.Context) {
	t := c.cfg.Timing
	lastValid := time.Now()
	held := false
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-next.C:
		case <-c.session.poked:
		case <-ctx.Done():
			return
		}
		ok, gone := c.renewOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if gone {
			c.goneFromTable()
			return
		}
		valid := c.session.valid()
		if valid {
			lastValid = time.Now()
		}
		if valid != held {
			held = valid
			c.log.InfoContext(ctx, "session changed", slog.Bool("held", held), slog.Uint64("generation", c.generation.Load()))
		}
		if time.Since(lastValid) > t.LostAfter {
			c.end(ErrLostQuorum)
			return
		}
		if ok && !c.catchingUp() {
			next.Reset(t.Renew)
		} else {
			next.Reset(t.Renew / 10)
		}
	}
}

// catchingUp reports whether this node is to vote and does not yet.
func (c *Cluster) catchingUp() bool {
	r := c.raftNode()
	if r == nil {
		return false
	}
	f := r.GetConfiguration() // does not wait
	return f.Error() == nil && slices.ContainsFunc(f.Configuration().Servers, func(s raft.Server) bool {
		return s.ID == raft.ServerID(c.self.ID) && s.Suffrage == raft.Nonvoter
	})
}

// catchUp makes a node that is to vote renew at once: its renewal tells the
// leader how far its log is, and until it votes the cluster can lose one node less.
func (c *Cluster) catchUp() {
	if c.catchingUp() {
		c.session.poke()
	}
}

// goneFromTable ends the membership of a node that the leader does not know
// (any more): expected after leaving, an error otherwise.
func (c *Cluster) goneFromTable() {
	if s, ok := c.Status(); c.exiting.Load() && (!ok || s == member.Exiting) {
		c.session.end()
		c.leftOnce.Do(func() { close(c.left) })
		return
	}
	c.end(ErrDowned)
}

// renewOnce asks the leader, or whoever may know it, for one renewal.
func (c *Cluster) renewOnce(ctx context.Context) (ok, gone bool) {
	sent := time.Now()
	ctx, cancel := context.WithTimeout(ctx, max(c.cfg.Timing.Renew, c.cfg.Timing.SessionTTL/6))
	defer cancel()
	req := wire.Renew{ID: c.self.ID, Generation: c.generation.Load(), Applied: c.replica.index(), RaftIndex: c.raftNode().LastIndex()}
	var reply wire.LeaderReply
	var err error
	if l := c.leading.Load(); l != nil {
		answered := make(chan wire.LeaderReply, 1)
		l.renew(req, func(r wire.LeaderReply) { answered <- r })
		select {
		case reply = <-answered:
		case <-ctx.Done():
			err = ctx.Err()
		}
	} else {
		var raw []byte
		if raw, err = wire.EncodeRenew(req); err == nil {
			reply, err = c.askSomeone(ctx, serviceRenew, raw)
		}
	}
	if err != nil {
		c.log.DebugContext(ctx, "session renewal failed", slog.String("error", err.Error()))
		return false, false
	}
	switch {
	case reply.Gone:
		return false, true
	case reply.NotLeader:
		c.learnLeader(reply)
		return false, false
	case !reply.OK:
		return false, false
	}
	// The session of an expired member counts only once the member has seen
	// its shards go.
	if c.replica.index() < reply.ExpireIndex {
		if c.replica.until(ctx, func(t *table.Table) bool { return t.Index >= reply.ExpireIndex }) != nil {
			return false, false
		}
	}
	c.session.extend(sent)
	return true, false
}

// learnLeader takes a redirect's word for who leads.
func (c *Cluster) learnLeader(reply wire.LeaderReply) {
	if reply.Leader.ID != "" && reply.Leader.ID != c.self.ID && reply.Generation == c.generation.Load() && reply.Term <= math.MaxInt64 {
		c.replica.setLeader(reply.Leader, reply.Term)
	}
}
