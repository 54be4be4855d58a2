package cluster

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
)

const (
	// pushEntries bounds the entries of one push.
	pushEntries = 256
	// pushTimeout bounds the wait for the answer to one push.
	pushTimeout = 2 * time.Second
	// pushIdle is how often a member that has everything hears of it anyway, so
	// that it knows who leads.
	pushIdle = time.Second
	// farewell is how long a removed member is still told about its removal.
	farewell = time.Second
)

// pushAll keeps every member's table up to date until ctx ends.
func (l *leadership) pushAll(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	cancels := map[member.NodeID]context.CancelFunc{}
	for {
		changed := l.c.replica.change()
		present := map[member.NodeID]bool{}
		for _, m := range l.c.View().Members {
			if m.ID == l.c.self.ID || m.Status == member.Down {
				continue
			}
			present[m.ID] = true
			if cancels[m.ID] != nil {
				continue
			}
			mctx, cancel := context.WithCancel(ctx)
			cancels[m.ID] = cancel
			to := m.Node
			l.pushing.Add(1)
			l.mu.Lock()
			l.told[m.ID] = true
			l.mu.Unlock()
			l.poke()
			wg.Go(func() {
				defer l.pushing.Add(-1)
				defer cancel()
				l.pushTo(mctx, to)
			})
		}
		for id, cancel := range cancels {
			if !present[id] {
				stop := context.AfterFunc(ctx, cancel)
				time.AfterFunc(farewell, func() { stop(); cancel() })
				delete(cancels, id)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// pushTo keeps one member's table up to date: one push at a time, the next
// starting where the member says it is.
func (l *leadership) pushTo(ctx context.Context, to member.Node) {
	applied := l.c.replica.index() // a first, empty push asks where the member is
	backoff := 10 * time.Millisecond
	for ctx.Err() == nil {
		changed := l.c.replica.change()
		at, err := l.pushOnce(ctx, to, applied)
		if err != nil {
			l.log.DebugContext(ctx, "push failed", slog.String("member", to.String()), slog.String("error", err.Error()))
			if notSent(err) {
				l.c.suspect(to) //nolint:contextcheck // the probe outlives this push
			}
			if !pause(ctx, backoff) {
				return
			}
			backoff = min(2*backoff, 200*time.Millisecond)
			continue
		}
		backoff = 10 * time.Millisecond
		applied = at
		_, present := l.c.View().Find(to.ID)
		if applied < l.c.replica.index() {
			continue
		}
		if !present {
			return // it knows that it was removed
		}
		select {
		case <-changed:
		case <-time.After(pushIdle):
		case <-ctx.Done():
		}
	}
}

func (l *leadership) pushOnce(ctx context.Context, to member.Node, applied uint64) (uint64, error) {
	prev, entries, snap := l.c.replica.since(applied, pushEntries)
	payload, err := wire.EncodePush(wire.Push{
		Generation: l.c.generation.Load(), Term: l.term, Leader: l.c.self, Prev: prev, Entries: entries, Table: snap,
	})
	if err != nil {
		return 0, err
	}
	actx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	raw, err := l.c.t.Ask(actx, to, servicePush, payload)
	if err != nil {
		return 0, err
	}
	reply, err := wire.DecodePushReply(raw)
	if err == nil && reply.Refusal != "" {
		err = &RefusedError{Reason: reply.Refusal}
	}
	return reply.Applied, err
}

// onPush applies what the leader sent.
func (c *Cluster) onPush(m remote.Message) {
	p, err := wire.DecodePush(m.Payload)
	if err != nil {
		m.Reply(nil, &remote.Error{Code: remote.CodeMalformed, Text: err.Error()})
		return
	}
	if g := c.generation.Load(); p.Generation != g || g == 0 {
		m.Reply(wire.EncodePushReply(wire.PushReply{Refusal: "this node does not belong to that generation"}))
		return
	}
	if p.Leader.ID != "" {
		before := c.replica.leader.Load().node
		c.replica.setLeader(p.Leader, p.Term)
		if before != p.Leader {
			c.session.poke()
		}
	}
	applied, err := c.replica.push(p)
	if err != nil {
		c.log.Warn("push was not applied", slog.String("from", m.From.String()), slog.String("error", err.Error()))
		m.Reply(nil, &remote.Error{Code: remote.CodeMalformed, Text: err.Error()})
		return
	}
	m.Reply(wire.EncodePushReply(wire.PushReply{Applied: applied}))
	if c.exiting.Load() && c.notInTable() {
		c.leftOnce.Do(func() { close(c.left) })
	}
}

func (c *Cluster) notInTable() bool {
	gone := false
	c.replica.read(func(t *table.Table) {
		_, ok := t.Member(c.self.ID)
		gone = t.Generation != 0 && !ok
	})
	return gone
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
