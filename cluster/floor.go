package cluster

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
)

// findFloor learns until when leaders before this one may have confirmed
// sessions. An older leader's confirmation needed a majority that heard it; a
// majority that now says when it last heard an older leader shares a voter with
// it, so nothing was confirmed after the latest moment that any of them names.
// Without a majority's answer the floor is now, which is always safe: this
// leader's own commit ended every older term.
func (l *leadership) findFloor(ctx context.Context) {
	started := time.Now()
	cfg := l.r.GetConfiguration()
	if err := cfg.Error(); err != nil {
		l.setFloor(started, "no configuration")
		return
	}
	var voters []member.Node
	for _, s := range cfg.Configuration().Servers {
		if n, err := parseServer(s.Address); err == nil && s.Suffrage == raft.Voter {
			voters = append(voters, n)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, raftTimeout)
	defer cancel()
	type answer struct {
		last time.Time // zero: never heard an older leader
		err  error
	}
	answers := make(chan answer, len(voters))
	var wg sync.WaitGroup
	for _, v := range voters {
		if v.ID == l.c.self.ID {
			answers <- answer{last: l.c.trans.heardBefore(l.term)}
			continue
		}
		wg.Go(func() {
			reply, err := l.askFloor(ctx, v)
			switch {
			case err != nil:
				answers <- answer{err: err}
			case !reply.Heard:
				answers <- answer{}
			default:
				// The voter measured the age on its own clock: allow for its rate.
				answers <- answer{last: time.Now().Add(-reply.Age * 96 / 100)}
			}
		})
	}
	defer wg.Wait()
	var floor time.Time
	heard := 0
	for range voters {
		a := <-answers
		if a.err != nil {
			continue
		}
		heard++
		if a.last.After(floor) {
			floor = a.last
		}
		if heard > len(voters)/2 {
			cancel()
			l.setFloor(floor, "majority answered")
			return
		}
	}
	l.setFloor(time.Now(), "no majority answered")
}

func (l *leadership) setFloor(at time.Time, reason string) {
	l.mu.Lock()
	l.floor, l.floorSet = at, true
	l.mu.Unlock()
	age := time.Duration(-1)
	if !at.IsZero() {
		age = time.Since(at)
	}
	l.log.Info("session floor set", slog.String("reason", reason), slog.Duration("age", age))
	l.poke()
}

func (l *leadership) askFloor(ctx context.Context, v member.Node) (wire.FloorReply, error) {
	payload, err := wire.EncodeFloorRequest(wire.FloorRequest{Generation: l.c.generation.Load(), Term: l.term})
	if err != nil {
		return wire.FloorReply{}, err
	}
	raw, err := l.c.t.Ask(ctx, v, serviceFloor, payload)
	if err != nil {
		return wire.FloorReply{}, err
	}
	reply, err := wire.DecodeFloorReply(raw)
	if err == nil && !reply.OK {
		err = errors.New(reply.Refusal)
	}
	return reply, err
}

// onFloor answers when this node last heard a leader older than the asker's
// term. It must have taken over that term itself, or it might hear, and
// answer, an older leader after this.
func (c *Cluster) onFloor(m remote.Message) {
	req, err := wire.DecodeFloorRequest(m.Payload)
	if err != nil {
		m.Reply(nil, &remote.Error{Code: remote.CodeMalformed, Text: err.Error()})
		return
	}
	reply := wire.FloorReply{OK: true}
	r := c.raftNode()
	switch {
	case r == nil || req.Generation != c.generation.Load():
		reply = wire.FloorReply{Refusal: "not a voter of that generation"}
	case r.CurrentTerm() < req.Term:
		reply = wire.FloorReply{Refusal: "not in that term yet"}
	default:
		if last := c.trans.heardBefore(req.Term); !last.IsZero() {
			reply.Heard, reply.Age = true, time.Since(last)
		}
	}
	m.Reply(wire.EncodeFloorReply(reply))
}
