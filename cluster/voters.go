package cluster

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// voterCount is how many voters a cluster of n members in the given number of
// zones has: 1, 2, 3, 3, 5 for 1, 2, 3, 4, 5 and more; 7 beyond three zones.
func voterCount(n, zones int) int {
	switch {
	case n <= 3:
		return n
	case n == 4:
		return 3
	case n >= 7 && zones > 3:
		return 7
	}
	return 5
}

// chooseVoters returns who should vote: members that are Up, one zone after
// the other, those that vote already first and then the oldest. When nobody is
// Up, those that leave keep their votes so that the last steps can be committed.
func chooseVoters(members []member.Member, voting func(member.NodeID) bool) []member.NodeID {
	var pool []member.Member
	for _, want := range []member.Status{member.Up, member.Leaving, member.Exiting} {
		for _, m := range members {
			if m.Status == want {
				pool = append(pool, m)
			}
		}
		if len(pool) > 0 {
			break
		}
	}
	slices.SortFunc(pool, func(a, b member.Member) int {
		if va, vb := voting(a.ID), voting(b.ID); va != vb {
			if va {
				return -1
			}
			return 1
		}
		return member.CompareAge(a, b)
	})
	zones := map[string]int{}
	for _, m := range pool {
		zones[m.Zone] = 0
	}
	n := voterCount(len(pool), len(zones))
	var out []member.NodeID
	for len(out) < n {
		// The first of the pool in the zone with the fewest voters so far.
		best := -1
		for i, m := range pool {
			if best < 0 || zones[m.Zone] < zones[pool[best].Zone] {
				best = i
			}
		}
		out = append(out, pool[best].ID)
		zones[pool[best].Zone]++
		pool = slices.Delete(pool, best, best+1)
	}
	return out
}

// voterStep is one change of raft's configuration.
type voterStep struct {
	kind voterStepKind
	id   member.NodeID
	addr raft.ServerAddress
}

type voterStepKind uint8

const (
	stepNone voterStepKind = iota
	stepAdd                // as a non-voter, to catch up
	stepPromote
	stepRemove
	stepTransfer // this leader must give up its vote: another leads first
	stepWait     // for a non-voter to catch up
)

// nextVoterStep decides the next single change. caughtUp reports whether a
// non-voter's log has what the leader's had.
func nextVoterStep(members []member.Member, servers []raft.Server, self member.NodeID, caughtUp func(member.NodeID) bool) voterStep {
	byID := map[member.NodeID]member.Member{}
	for _, m := range members {
		byID[m.ID] = m
	}
	suffrage := map[member.NodeID]raft.ServerSuffrage{}
	for _, s := range servers {
		suffrage[member.NodeID(s.ID)] = s.Suffrage
	}
	voting := func(id member.NodeID) bool { s, ok := suffrage[id]; return ok && s == raft.Voter }
	want := chooseVoters(members, voting)
	// The dead first: they count against the quorum and never answer.
	for _, s := range servers {
		id := member.NodeID(s.ID)
		if m, ok := byID[id]; id != self && (!ok || m.Status == member.Down) {
			return voterStep{kind: stepRemove, id: id}
		}
	}
	complete := true
	for _, id := range want {
		s, ok := suffrage[id]
		switch {
		case !ok:
			return voterStep{kind: stepAdd, id: id, addr: serverAddress(byID[id].Node)}
		case s != raft.Voter && caughtUp(id):
			return voterStep{kind: stepPromote, id: id, addr: serverAddress(byID[id].Node)}
		case s != raft.Voter:
			complete = false
		}
	}
	if !complete {
		return voterStep{kind: stepWait}
	}
	for _, s := range servers {
		id := member.NodeID(s.ID)
		switch {
		case slices.Contains(want, id):
		case id == self:
			return voterStep{kind: stepTransfer}
		default:
			return voterStep{kind: stepRemove, id: id}
		}
	}
	// Everybody leaves: whoever has nothing left to do gives up its vote.
	for _, s := range servers {
		id := member.NodeID(s.ID)
		if byID[id].Status == member.Exiting && id != self {
			return voterStep{kind: stepRemove, id: id}
		}
	}
	return voterStep{}
}

// keepVoters makes raft's configuration follow the members, one change at a time.
func (l *leadership) keepVoters(ctx context.Context) {
	for ctx.Err() == nil {
		changed := l.c.replica.change()
		wait := l.voterStep(ctx)
		if wait < voterIdle {
			changed = nil
		}
		select {
		case <-changed:
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// Pauses between two looks at the voters: when there was nothing to do, while
// somebody catches up, and after a change.
const (
	voterIdle    = 200 * time.Millisecond
	voterCatchUp = 20 * time.Millisecond
	voterBusy    = 5 * time.Millisecond
)

// voterStep makes one change at most and says when to look again.
func (l *leadership) voterStep(ctx context.Context) time.Duration {
	f := l.r.GetConfiguration()
	if f.Error() != nil {
		return voterIdle
	}
	servers := f.Configuration().Servers
	target := l.r.CommitIndex()
	step := nextVoterStep(l.c.View().Members, servers, l.c.self.ID, func(id member.NodeID) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		// Its renewals say where its log is; a few entries behind is fine.
		return l.synced[id].RaftIndex+64 >= target
	})
	switch step.kind {
	case stepNone:
		return voterIdle
	case stepWait:
		return voterCatchUp
	case stepAdd, stepPromote, stepRemove, stepTransfer:
	}
	if err := l.register(ctx, servers, step); err != nil {
		l.log.WarnContext(ctx, "voter change was not registered", slog.String("member", string(step.id)), slog.String("error", err.Error()))
		return voterIdle
	}
	var err error
	var what string
	switch step.kind {
	case stepAdd:
		what = "non-voter added"
		err = l.r.AddNonvoter(raft.ServerID(step.id), step.addr, 0, raftTimeout).Error()
	case stepPromote:
		what = "voter added"
		err = l.r.AddVoter(raft.ServerID(step.id), step.addr, 0, raftTimeout).Error()
	case stepRemove:
		what = "server removed"
		err = l.r.RemoveServer(raft.ServerID(step.id), 0, raftTimeout).Error()
	case stepTransfer:
		what = "leadership handed over"
		err = l.r.LeadershipTransfer().Error()
	case stepNone, stepWait:
	}
	if err != nil {
		l.log.WarnContext(ctx, "voter change failed", slog.String("step", what), slog.String("member", string(step.id)), slog.String("error", err.Error()))
		return voterIdle
	}
	l.log.InfoContext(ctx, "voters changed", slog.String("step", what), slog.String("member", string(step.id)))
	l.poke()
	return voterBusy
}

func (l *leadership) inRaft(id member.NodeID) bool {
	f := l.r.GetConfiguration()
	if f.Error() != nil {
		return true
	}
	return slices.ContainsFunc(f.Configuration().Servers, func(s raft.Server) bool { return member.NodeID(s.ID) == id })
}
