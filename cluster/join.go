package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
)

// Join asks the nodes at the given cluster addresses, and whomever they name as
// their leader, to accept this node, and returns when it is Up and holds a
// session. A *RefusedError with Final() must not be tried again.
func (c *Cluster) Join(ctx context.Context, addrs []string) error {
	if c.raftNode() != nil {
		return c.awaitUp(ctx)
	}
	payload, err := wire.EncodeJoinRequest(wire.JoinRequest{Member: c.joiner(), Cluster: c.cfg.Cluster, Settings: c.settings()})
	if err != nil {
		return err
	}
	var errs []error
	for _, addr := range addrs {
		n, err := c.t.ProbeAddr(ctx, addr)
		if err != nil {
			errs = append(errs, fmt.Errorf("cluster: join through %s: %w", addr, err))
			continue
		}
		reply, err := c.askJoin(ctx, n, payload)
		var refused *RefusedError
		if errors.As(err, &refused) && refused.Permanent {
			return err
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("cluster: join through %s: %w", addr, err))
			continue
		}
		c.log.InfoContext(ctx, "accepted by the cluster", slog.Uint64("generation", reply.Generation), slog.String("leader", reply.Leader.String()))
		if err := c.start(reply.Generation, false); err != nil { //nolint:contextcheck // lives as long as Run
			return err
		}
		c.replica.setLeader(reply.Leader, reply.Term)
		c.session.poke()
		return c.awaitUp(ctx)
	}
	return errors.Join(errs...)
}

func (c *Cluster) joiner() member.Member {
	m := c.cfg.Self
	m.Status = member.Joining
	return m
}

// askJoin follows redirects to the leader, a few times.
func (c *Cluster) askJoin(ctx context.Context, n member.Node, payload []byte) (wire.LeaderReply, error) {
	for range 4 {
		actx, cancel := context.WithTimeout(ctx, 5*time.Second)
		raw, err := c.t.Ask(actx, n, serviceJoin, payload)
		cancel()
		if err != nil {
			return wire.LeaderReply{}, err
		}
		reply, err := wire.DecodeLeaderReply(raw)
		switch {
		case err != nil:
			return wire.LeaderReply{}, err
		case reply.OK:
			return reply, nil
		case reply.NotLeader && reply.Leader.ID != "":
			n = reply.Leader
		case reply.NotLeader:
			return wire.LeaderReply{}, errors.New("it knows no leader now")
		default:
			return wire.LeaderReply{}, &RefusedError{Reason: reply.Refusal, Permanent: reply.Final}
		}
	}
	return wire.LeaderReply{}, errors.New("redirected too often")
}

// settings are what the join check compares.
func (c *Cluster) settings() map[string]string {
	s := maps.Clone(c.cfg.Settings)
	if s == nil {
		s = map[string]string{}
	}
	for name, n := range c.cfg.Types {
		s["shards of "+name] = strconv.Itoa(n)
	}
	return s
}

// differences says how the joiner's settings differ from the cluster's.
func differences(joiner, cluster map[string]string) string {
	names := slices.Collect(maps.Keys(joiner))
	names = slices.AppendSeq(names, maps.Keys(cluster))
	slices.Sort(names)
	var out []string
	for _, name := range slices.Compact(names) {
		if have, want := joiner[name], cluster[name]; have != want {
			out = append(out, fmt.Sprintf("%s is %s here and %s in the cluster", name,
				cmp.Or(have, "not set"), cmp.Or(want, "not set")))
		}
	}
	return strings.Join(out, "; ")
}

// onJoin accepts a node when this one leads, else names the leader.
func (c *Cluster) onJoin(m remote.Message) {
	req, err := wire.DecodeJoinRequest(m.Payload)
	if err != nil {
		m.Reply(nil, &remote.Error{Code: remote.CodeMalformed, Text: err.Error()})
		return
	}
	c.serve(m, func(ctx context.Context) wire.LeaderReply {
		if req.Cluster != c.cfg.Cluster {
			return wire.LeaderReply{Refusal: fmt.Sprintf("this is cluster %q, not %q", c.cfg.Cluster, req.Cluster), Final: true}
		}
		l := c.leading.Load()
		if l == nil {
			return c.redirect()
		}
		return l.join(ctx, req)
	})
}

// join accepts a node as Joining.
func (l *leadership) join(ctx context.Context, req wire.JoinRequest) wire.LeaderReply {
	if d := differences(req.Settings, l.c.settings()); d != "" {
		l.log.InfoContext(ctx, "join refused", slog.String("node", req.Member.String()), slog.String("reason", d))
		return wire.LeaderReply{Refusal: "settings must be the same on all nodes: " + d, Final: true}
	}
	ok := wire.LeaderReply{OK: true, Generation: l.c.generation.Load(), Leader: l.c.self, Term: l.term}
	for _, m := range l.c.View().Members {
		switch {
		case m.ID == req.Member.ID && m.Status != member.Down:
			return ok // an earlier answer was lost
		case m.Addr == req.Member.Addr && m.Status != member.Down:
			// A process restarted at its address. Its earlier incarnation must
			// be proved dead before the address changes hands.
			e := l.c.probe(ctx, m.Node)
			if !e.Dead() {
				return wire.LeaderReply{Refusal: fmt.Sprintf("address %s belongs to member %s, which is %s", m.Addr, m.ID, e), Final: e == remote.Alive}
			}
			l.certify(m.Node, e.String())
		}
	}
	if _, err := l.commit(table.Join{Member: req.Member}); err != nil && !errors.Is(err, table.ErrMemberExists) {
		return wire.LeaderReply{Refusal: err.Error(), NotLeader: l.lost(err)}
	}
	l.log.InfoContext(ctx, "member changed", slog.String("member", req.Member.String()), slog.String("status", member.Joining.String()), slog.String("zone", req.Member.Zone), slog.String("app_version", req.Member.AppVersion))
	return ok
}
