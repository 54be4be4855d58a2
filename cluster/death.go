package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
)

const (
	// probeTimeout bounds one probe.
	probeTimeout = 500 * time.Millisecond
	// probeFor is how long a suspect is probed before it is left to its session.
	probeFor = 3 * time.Second
)

// lost is called by the transport when a connection with a node broke.
func (c *Cluster) lost(n member.Node) { c.suspect(n) }

// suspect probes a member that may have died. A refused connection, or another
// incarnation at its address, proves the death; silence proves nothing and is
// left to the session. Our own listener closes only after the last entity has
// stopped, which is what makes a refusal a proof.
func (c *Cluster) suspect(n member.Node) {
	if _, ok := c.View().Find(n.ID); !ok || n.ID == c.self.ID {
		return
	}
	c.mu.Lock()
	if c.probing[n.ID] || len(c.probing) >= 256 {
		c.mu.Unlock()
		return
	}
	c.probing[n.ID] = true
	c.mu.Unlock()
	done := func() {
		c.mu.Lock()
		delete(c.probing, n.ID)
		c.mu.Unlock()
	}
	if !c.spawn(func(ctx context.Context) {
		defer done()
		if proof := c.probe(ctx, n); proof.Dead() {
			c.report(ctx, n, proof)
		}
	}) {
		done()
	}
}

// probe asks until there is an answer: a dying process may refuse nothing yet.
func (c *Cluster) probe(ctx context.Context, n member.Node) remote.Evidence {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		pctx, pcancel := context.WithTimeout(ctx, probeTimeout)
		e := c.t.Probe(pctx, n)
		pcancel()
		if e != remote.Unknown || !pause(ctx, wait) {
			return e
		}
	}
}

// report makes a proved death known until the table shows it: to the leader,
// or, when it was the leader that died, by standing for election.
func (c *Cluster) report(ctx context.Context, dead member.Node, proof remote.Evidence) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	payload, err := wire.EncodeSuspect(dead)
	if err != nil {
		return
	}
	c.log.InfoContext(ctx, "death proved", slog.String("member", dead.String()), slog.String("proof", proof.String()))
	c.mu.Lock()
	c.dead[dead.ID] = true
	c.mu.Unlock()
	var hopeless time.Time // since when no quorum is possible
	for ctx.Err() == nil {
		m, ok := c.View().Find(dead.ID)
		if !ok || m.Status == member.Down {
			c.t.Forget(dead.ID)
			return
		}
		leader := c.replica.leader.Load().node
		lead := c.leading.Load()
		switch {
		case lead != nil:
			lead.certify(dead, proof.String())
		case leader.ID == dead.ID || leader.ID == "" || leader.ID == c.self.ID:
			if !c.quorumGone() {
				hopeless = time.Time{}
				c.stand(ctx, dead)
				break
			}
			// Somebody may lead with fewer voters than we know of: give them
			// time to be heard.
			if hopeless.IsZero() {
				hopeless = time.Now()
			} else if time.Since(hopeless) > 2*c.cfg.Timing.Heartbeat {
				c.end(fmt.Errorf("%w: so many voters are proved dead that none can be elected", ErrLostQuorum))
				return
			}
		default:
			actx, acancel := context.WithTimeout(ctx, probeTimeout)
			_, _ = c.t.Ask(actx, leader, serviceSuspect, payload) // said again until the table shows it
			acancel()
		}
		if !pause(ctx, 20*time.Millisecond) {
			return
		}
	}
}

// quorumGone reports whether the voters that are not proved dead are too few to
// elect a leader. The dead never come back: a restarted process is a new node.
func (c *Cluster) quorumGone() bool {
	r := c.raftNode()
	if r == nil {
		return false
	}
	f := r.GetConfiguration()
	if f.Error() != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	voters, alive := 0, 0
	for _, s := range f.Configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters++
			if !c.dead[member.NodeID(s.ID)] {
				alive++
			}
		}
	}
	return voters > 0 && alive < voters/2+1
}

// stand makes this voter stand for election in place of a dead leader. The
// survivors wait by rank, so that two seldom stand at once.
func (c *Cluster) stand(ctx context.Context, dead member.Node) {
	r := c.raftNode()
	if r == nil {
		return
	}
	f := r.GetConfiguration()
	if f.Error() != nil {
		return
	}
	var voters []member.NodeID
	for _, s := range f.Configuration().Servers {
		if s.Suffrage == raft.Voter && member.NodeID(s.ID) != dead.ID {
			voters = append(voters, member.NodeID(s.ID))
		}
	}
	slices.Sort(voters)
	rank := slices.Index(voters, c.self.ID)
	if rank < 0 {
		return
	}
	wait := time.Duration(rank) * c.cfg.Timing.HintBackoff
	if r.State() == raft.Candidate {
		wait = c.electionTime() // an election is under way already
	}
	term := r.CurrentTerm()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		ch := c.replica.change()
		if l := c.replica.leader.Load().node; l.ID != "" && l.ID != dead.ID {
			return
		}
		select {
		case <-timer.C:
			if now := r.CurrentTerm(); now != term {
				// Another survivor stands, and this node may have voted for it already.
				term = now
				timer.Reset(c.electionTime())
				continue
			}
			c.log.InfoContext(ctx, "standing for election", slog.String("dead_leader", dead.String()), slog.Int("rank", rank))
			sctx, cancel := context.WithTimeout(ctx, raftTimeout)
			defer cancel()
			if err := c.trans.campaign(sctx, c.self); err != nil {
				c.log.WarnContext(ctx, "standing for election failed", slog.String("error", err.Error()))
				return
			}
			// Standing again would undo an election that only takes long.
			octx, ocancel := context.WithTimeout(ctx, c.electionTime())
			defer ocancel()
			c.awaitOtherLeader(octx, dead)
			return
		case <-ch:
		case <-ctx.Done():
			return
		}
	}
}

// electionTime is how long an election under way is left to raft, which repeats
// it by itself after one to two election timeouts.
func (c *Cluster) electionTime() time.Duration { return 2 * c.cfg.Timing.Heartbeat }

func (c *Cluster) awaitOtherLeader(ctx context.Context, dead member.Node) {
	for {
		ch := c.replica.change()
		if l := c.replica.leader.Load().node; l.ID != "" && l.ID != dead.ID {
			return
		}
		select {
		case <-ch:
		case <-ctx.Done():
			return
		}
	}
}

// onSuspect makes the leader look for itself.
func (c *Cluster) onSuspect(m remote.Message) {
	n, err := wire.DecodeSuspect(m.Payload)
	if err != nil {
		m.Reply(nil, &remote.Error{Code: remote.CodeMalformed, Text: err.Error()})
		return
	}
	c.suspect(n)
	m.Reply(nil, nil)
}
