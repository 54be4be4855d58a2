package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
)

// askSomeone sends a request to the leader as far as this node knows it, else
// to any other member, who will name the leader.
func (c *Cluster) askSomeone(ctx context.Context, s remote.Service, payload []byte) (wire.LeaderReply, error) {
	to, ok := c.leaderOrOther()
	if !ok {
		return wire.LeaderReply{}, errors.New("cluster: no other member is known")
	}
	raw, err := c.t.Ask(ctx, to, s, payload)
	if err != nil {
		if c.replica.leader.Load().node == to {
			c.forgetLeader(to)
		}
		if notSent(err) {
			c.suspect(to) //nolint:contextcheck // the probe outlives this request
		}
		return wire.LeaderReply{}, fmt.Errorf("cluster: ask %s of %s: %w", s, to, err)
	}
	return wire.DecodeLeaderReply(raw)
}

// notSent reports whether a lane refused a message because its node is gone.
func notSent(err error) bool {
	var re *remote.Error
	return errors.Is(err, remote.ErrClosed) || errors.As(err, &re) && re.Code == remote.CodeNotSent
}

func (c *Cluster) leaderOrOther() (member.Node, bool) {
	if l := c.replica.leader.Load().node; l.ID != "" && l.ID != c.self.ID {
		return l, true
	}
	var others []member.Node
	for _, m := range c.View().Members {
		if m.ID != c.self.ID && m.Status != member.Down {
			others = append(others, m.Node)
		}
	}
	if len(others) == 0 {
		return member.Node{}, false
	}
	return others[rand.IntN(len(others))], true
}

// forgetLeader drops a leader that did not answer, so that others are asked.
func (c *Cluster) forgetLeader(n member.Node) {
	h := c.replica.leader.Load()
	if h.node == n {
		c.replica.leader.CompareAndSwap(h, &leaderHint{term: h.term})
	}
}

// propose has the leader commit this node's own status or releases, trying
// again until it is committed, refused for good, or ctx ends.
func (c *Cluster) propose(ctx context.Context, p wire.Propose) error {
	p.ID, p.Generation = c.self.ID, c.generation.Load()
	payload, err := wire.EncodePropose(p)
	if err != nil {
		return err
	}
	wait := 10 * time.Millisecond
	var last error
	for {
		reply, err := c.proposeOnce(ctx, p, payload)
		switch {
		case err != nil:
			last = err
		case reply.OK:
			return nil
		case reply.Gone:
			return fmt.Errorf("%w: %s", ErrNotRunning, reply.Refusal)
		case reply.NotLeader:
			c.learnLeader(reply)
			last = errNotLeader
		case reply.Final:
			return &RefusedError{Reason: reply.Refusal, Permanent: true}
		default:
			last = errors.New(reply.Refusal)
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, 200*time.Millisecond)
		case <-c.over:
			return fmt.Errorf("%w: %w", ErrNotRunning, c.overWhy)
		case <-ctx.Done():
			return fmt.Errorf("cluster: propose: %w (last attempt: %w)", ctx.Err(), last)
		}
	}
}

func (c *Cluster) proposeOnce(ctx context.Context, p wire.Propose, payload []byte) (wire.LeaderReply, error) {
	if l := c.leading.Load(); l != nil {
		return l.propose(ctx, p), nil
	}
	actx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return c.askSomeone(actx, servicePropose, payload)
}
