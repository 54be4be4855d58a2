package cluster

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/internal/wire"
)

// maxRenewals bounds the renewals that wait for a confirmation.
const maxRenewals = 4096

// renew queues a renewal for the next confirmation.
func (l *leadership) renew(req wire.Renew, reply func(wire.LeaderReply)) {
	now := time.Now()
	l.mu.Lock()
	full := len(l.pending) >= maxRenewals
	if !full {
		l.pending = append(l.pending, renewal{req, reply})
		// Counted even if the confirmation fails: that only makes us wait longer.
		if _, ok := l.c.View().Find(req.ID); ok {
			l.last[req.ID] = now
			delete(l.mute, req.ID)
		}
	}
	l.mu.Unlock()
	if full {
		reply(wire.LeaderReply{Refusal: "too many renewals at a time"})
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// confirmRenewals confirms renewals in batches, each by one commit that starts
// after the last of the batch has arrived: a majority agreed after that moment
// that this node leads, so no later leader can have counted the members silent.
func (l *leadership) confirmRenewals(ctx context.Context) {
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		}
		l.mu.Lock()
		batch := l.pending
		l.pending = nil
		l.mu.Unlock()
		if len(batch) == 0 {
			continue
		}
		if err := l.r.Barrier(raftTimeout).Error(); err != nil {
			for _, p := range batch {
				p.reply(l.redirect())
			}
			continue
		}
		joined := false
		for _, p := range batch {
			p.reply(l.grant(p.req, &joined))
		}
		if joined {
			l.poke()
		}
		// One commit per 20 ms is enough for any number of members.
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// grant answers a confirmed renewal.
func (l *leadership) grant(req wire.Renew, joined *bool) wire.LeaderReply {
	var m member.Member
	var ok bool
	var expired uint64
	l.c.replica.read(func(t *table.Table) {
		m, ok = t.Member(req.ID)
		expired = t.Expired(req.ID)
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case req.Generation != l.c.generation.Load():
		return wire.LeaderReply{Refusal: "this node belongs to another generation", Gone: true}
	case !ok || m.Status == member.Down || m.Status == member.Removed:
		return wire.LeaderReply{Refusal: "not a member", Gone: true}
	case l.expiring[req.ID]:
		return wire.LeaderReply{Refusal: "the session is being ended"}
	}
	if _, known := l.synced[req.ID]; !known || m.Status == member.Joining {
		*joined = true
	}
	l.synced[req.ID] = req
	if time.Now().Before(l.c.holdUntil()) {
		return wire.LeaderReply{Refusal: "sessions of an earlier generation may still run"}
	}
	return wire.LeaderReply{OK: true, Generation: req.Generation, Term: l.term, ExpireIndex: expired}
}

func (l *leadership) redirect() wire.LeaderReply {
	h := l.c.replica.leader.Load()
	return wire.LeaderReply{NotLeader: true, Leader: h.node, Term: h.term, Generation: l.c.generation.Load()}
}

func (l *leadership) refuseRenewals() {
	l.mu.Lock()
	batch := l.pending
	l.pending = nil
	l.mu.Unlock()
	for _, p := range batch {
		p.reply(wire.LeaderReply{NotLeader: true})
	}
}
