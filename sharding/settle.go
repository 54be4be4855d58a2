package sharding

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// advanceRoute opens the route when it can be. The results are those of advance.
func (s *slot) advanceRoute(now time.Time) (keep, soon bool) {
	if s.barrier {
		s.postBarrier()
	}
	s.expireTells(now)
	staleLeft := s.settle(now)
	if s.open {
		return s.barrier, s.barrier
	}
	idle := s.buf.n == 0
	switch {
	case s.row.State != placement.Running:
		return !idle || staleLeft || s.barrier, s.barrier
	case !s.caughtUp(now):
		return true, false
	case staleLeft:
		return true, false
	case s.probe == probeDue || s.probe == probeSent:
		s.sendProbe(now)
		if s.probe != probePassed {
			return true, false
		}
		fallthrough
	case s.probe == probePassed && s.out.n > 0:
		// Calls it took before may still come back.
		if s.out.n > 0 {
			if s.settleBy.IsZero() {
				s.settleBy = now.Add(s.region.set.cfg.SettleTimeout)
			}
			if now.Before(s.settleBy) {
				return true, false
			}
			for c := s.out.head; c != nil; c = c.next {
				s.cutSeq = max(s.cutSeq, c.seq)
			}
		}
	}
	if !s.aim() {
		// Nothing is lost by waiting for the table or the session when no call
		// does: submit activates the slot.
		return !idle || s.probe != probeNone, false
	}
	return s.flush(now)
}

// caughtUp reports whether the table has reached what a refusal told.
func (s *slot) caughtUp(now time.Time) bool {
	if s.waitIndex == 0 {
		return true
	}
	set := s.region.set
	if cmp.Or(cmp.Compare(s.generation, s.waitGen), cmp.Compare(set.index.Load(), s.waitIndex)) >= 0 || !now.Before(s.catchUp) {
		s.waitGen, s.waitIndex, s.catchUp = 0, 0, time.Time{}
		return true
	}
	return false
}

// settle reports whether calls are out to an earlier owner. When their time is
// up, or that owner is gone, it ends them: they may have run.
func (s *slot) settle(now time.Time) (left bool) {
	for c := s.out.head; c != nil; {
		next := c.next
		if s.stale(c.epoch, c.generation) {
			if now.Before(s.settleBy) || c.host != nil && c.host.state != hostStopped {
				left = true
			} else {
				s.out.remove(c)
				c.dead = true
				s.conclude(c, result{err: c.fail(Lost, errOwnerLost)})
			}
		}
		c = next
	}
	if !left && s.probe != probePassed {
		s.settleBy = time.Time{}
	}
	return left
}

// expireTells drops buffered tells that nobody waits for any more; asks leave
// by themselves.
func (s *slot) expireTells(now time.Time) {
	for c := s.buf.head; c != nil; {
		next := c.next
		if c.tell && !now.Before(c.deadline) {
			s.unbuffer(c)
			s.conclude(c, result{err: c.fail(Unavailable, fmt.Errorf("shard %d waited for %s: %w", s.shard, s.waitsFor(), context.DeadlineExceeded))})
		}
		c = next
	}
}

// aim points the route at the owner of the row, if that can be reached now.
func (s *slot) aim() bool {
	set := s.region.set
	s.sentEpoch, s.sentGen = s.row.Epoch, s.generation
	if s.row.Owner == set.self.ID {
		h := s.host
		if h == nil || h.state != hostTakes || h.epoch != s.row.Epoch || h.generation != s.generation {
			return false
		}
		if s.noSession = !set.cfg.Cluster.SessionValid(); s.noSession {
			return false
		}
		s.local, s.lane = h, nil
		return true
	}
	lane, ok := set.lane(s.row.Owner)
	s.local, s.lane = nil, lane
	return ok
}

// flush sends what is buffered, in order, and opens the route.
func (s *slot) flush(now time.Time) (keep, soon bool) {
	if s.mixed {
		s.sortBuffer()
	}
	for c := s.buf.head; c != nil; c = s.buf.head {
		s.unbuffer(c)
		if s.local != nil {
			err, taken := s.local.deliverLocal(c)
			if err != nil {
				s.conclude(c, result{err: err})
				continue
			}
			if !taken {
				s.putBack(c)
				return true, false
			}
			continue
		}
		err := s.post(c)
		switch {
		case err == nil:
			s.region.stats.resent.Add(1)
		case errors.Is(err, remote.ErrQueueFull):
			s.putBack(c)
			return true, true
		case errors.Is(err, remote.ErrClosed):
			s.putBack(c)
			s.refuse(now)
			return true, false
		default:
			s.conclude(c, result{err: c.fail(Unavailable, err)})
		}
	}
	s.open = true
	s.settleBy = time.Time{}
	if s.probe == probePassed {
		s.probe = probeNone // its wait is kept: a second refusal backs off
	}
	return false, false
}

// putBack returns a call that flush could not send to its place; nobody else
// had the lock meanwhile, so there is room.
func (s *slot) putBack(c *call) {
	s.region.set.waiting.force(c.size)
	s.region.stats.buffered.Add(1)
	s.mixed = s.mixed || s.buf.n > 0
	s.buf.push(c)
}

func (s *slot) sortBuffer() {
	calls := make([]*call, 0, s.buf.n)
	for c := s.buf.head; c != nil; c = c.next {
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b *call) int { return cmp.Compare(a.seq, b.seq) })
	s.buf = callList{}
	for _, c := range calls {
		s.buf.push(c)
	}
	s.mixed = false
}

// postBarrier tells the old owner of a moving shard that nothing more comes.
func (s *slot) postBarrier() {
	set := s.region.set
	if s.row.State != placement.Moving {
		s.barrier = false
		return
	}
	lane, ok := set.lane(s.row.Owner)
	if !ok {
		s.barrier = false
		return
	}
	epoch, generation := s.row.Epoch, s.generation
	err := lane.Post(remote.Post{
		Service:  service,
		Payload:  wire.AppendShardRequest(nil, wire.RequestBarrier, s.region.def.Name, s.shard, generation, epoch),
		Deadline: time.Now().Add(set.cfg.BarrierTimeout),
		Done: func(_ []byte, err error) {
			// A broken connection may have lost it: say it again.
			if e, ok := errors.AsType[*remote.Error](err); !ok || e.Code != remote.CodeLaneLost {
				return
			}
			s.mu.Lock()
			defer s.unlock()
			if s.row.State == placement.Moving && s.row.Epoch == epoch && s.generation == generation {
				s.barrier = true
				s.activate()
			}
		},
	})
	s.barrier = errors.Is(err, remote.ErrQueueFull)
}

// sendProbe asks an owner that refused whether it takes calls again.
func (s *slot) sendProbe(now time.Time) {
	set := s.region.set
	if s.probe != probeDue || now.Before(s.probeAt) {
		return
	}
	if s.row.Owner == set.self.ID {
		if s.aim() {
			s.probe = probePassed
		} else {
			s.backOff(now)
		}
		return
	}
	lane, ok := set.lane(s.row.Owner)
	if !ok {
		s.backOff(now)
		return
	}
	epoch, generation := s.row.Epoch, s.generation
	err := lane.Post(remote.Post{
		Service:  service,
		Payload:  wire.AppendShardRequest(nil, wire.RequestProbe, s.region.def.Name, s.shard, generation, epoch),
		Deadline: now.Add(probeTimeout),
		Done: func(b []byte, err error) {
			r, derr := wire.DecodeShardReply(b)
			s.mu.Lock()
			defer s.unlock()
			if s.probe != probeSent || s.row.Epoch != epoch || s.generation != generation {
				return
			}
			if err == nil && derr == nil && r.Status == wire.ReplyOK {
				s.probe, s.settleBy = probePassed, time.Time{}
			} else {
				s.probe = probeDue
				s.backOff(time.Now())
			}
			s.activate()
		},
	})
	if err != nil {
		s.backOff(now)
		return
	}
	s.probe = probeSent
}
