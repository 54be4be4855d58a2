package cluster

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
)

func (c *Cluster) handle() {
	c.t.Handle(serviceRenew, c.onRenew)
	c.t.Handle(serviceJoin, c.onJoin)
	c.t.Handle(servicePush, asked(c.onPush))
	c.t.Handle(servicePropose, c.onPropose)
	c.t.Handle(serviceSuspect, asked(c.onSuspect))
	c.t.Handle(serviceFloor, asked(c.onFloor))
}

// asked drops tells: every service of the cluster answers.
func asked(h remote.Handler) remote.Handler {
	return func(m remote.Message) {
		if m.Reply != nil {
			h(m)
		}
	}
}

// serve answers a request from a goroutine of its own, of which there are a
// bounded number: handlers must not block their lane.
func (c *Cluster) serve(m remote.Message, f func(ctx context.Context) wire.LeaderReply) {
	if m.Reply == nil {
		return
	}
	select {
	case c.requests <- struct{}{}:
	default:
		m.Reply(wire.EncodeLeaderReply(wire.LeaderReply{Refusal: "too many requests at a time"}))
		return
	}
	if !c.spawn(func(ctx context.Context) {
		defer func() { <-c.requests }()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		m.Reply(wire.EncodeLeaderReply(f(ctx)))
	}) {
		<-c.requests
		m.Reply(wire.EncodeLeaderReply(wire.LeaderReply{Refusal: "this node is stopping", NotLeader: true}))
	}
}

// redirect names the leader as this node knows it.
func (c *Cluster) redirect() wire.LeaderReply {
	h := c.replica.leader.Load()
	return wire.LeaderReply{NotLeader: true, Leader: h.node, Term: h.term, Generation: c.generation.Load()}
}

func (c *Cluster) onRenew(m remote.Message) {
	req, err := wire.DecodeRenew(m.Payload)
	switch {
	case m.Reply == nil:
	case err != nil:
		m.Reply(nil, &remote.Error{Code: remote.CodeMalformed, Text: err.Error()})
	default:
		if l := c.leading.Load(); l != nil {
			l.renew(req, func(r wire.LeaderReply) { m.Reply(wire.EncodeLeaderReply(r)) })
			return
		}
		m.Reply(wire.EncodeLeaderReply(c.redirect()))
	}
}

func (c *Cluster) onPropose(m remote.Message) {
	p, err := wire.DecodePropose(m.Payload)
	if err != nil {
		if m.Reply != nil {
			m.Reply(nil, &remote.Error{Code: remote.CodeMalformed, Text: err.Error()})
		}
		return
	}
	c.serve(m, func(ctx context.Context) wire.LeaderReply {
		if l := c.leading.Load(); l != nil {
			return l.propose(ctx, p)
		}
		return c.redirect()
	})
}
