package sharding

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/internal/wire"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// parked is a message for an assignment that this node's table does not show
// yet, or whose predecessor is still stopping here.
type parked struct {
	inbound
	until time.Time
}

// inbound is a request from another node.
type inbound struct {
	request wire.ShardRequest
	message remote.Message
	// def is the method of a call, value its request when decoded.
	def     *MethodDef
	value   any
	decoded bool
}

// receive is the handler of the service: it decides under the slot's lock and
// never waits.
func (r *Regions) receive(m remote.Message) {
	if m.Reply == nil {
		r.cfg.Logger.Debug("message without reply address dropped", slog.String("from", m.From.String()))
		return
	}
	q, err := wire.DecodeShardRequest(m.Payload)
	if err != nil {
		replyError(m, Malformed, err.Error())
		return
	}
	region := r.regions[string(q.Type)]
	if region == nil {
		replyError(m, UnknownType, fmt.Sprintf("node %s does not host entity type %q", r.self.ID, q.Type))
		return
	}
	if q.Shard >= len(region.slots) {
		replyError(m, Malformed, fmt.Sprintf("shard %d is out of range: type %q has %d", q.Shard, q.Type, len(region.slots)))
		return
	}
	in := inbound{request: q, message: m}
	if q.Kind == wire.RequestCall {
		if in.def = region.def.Methods[string(q.Method)]; in.def == nil {
			replyError(m, UnknownMethod, fmt.Sprintf("node %s has no method %q of entity type %q", r.self.ID, q.Method, q.Type))
			return
		}
		// An entity's goroutine is a fresh one with a small stack: decoding here,
		// where the stack has grown, is a quarter cheaper in all.
		if len(q.Payload) <= decodeEarly {
			if in.value, err = guardDecode(in.def.DecodeRequest, q.Payload); err != nil {
				replyError(m, Malformed, fmt.Sprintf("request of method %q: %v", in.def.Name, err))
				return
			}
			in.decoded = true
		}
	}
	s := &region.slots[q.Shard]
	s.mu.Lock()
	defer s.unlock()
	if len(s.parked) > 0 || s.ahead(&q) {
		s.park(in)
		return
	}
	s.handle(&in)
}

// decodeEarly is the largest request, in bytes, that is decoded while the lane
// waits.
const decodeEarly = 4096

func replyError(m remote.Message, code Code, text string) { m.Reply(errorBytes(code, text), nil) }

func errorBytes(code Code, text string) []byte {
	return wire.AppendShardReply(nil, &wire.ShardReply{Status: wire.ReplyError, Code: string(code), Text: text})
}

// ahead reports whether the sender knows of an assignment that this node can
// not serve yet but may soon.
func (s *slot) ahead(q *wire.ShardRequest) bool {
	set := s.region.set
	if set.stopped.Load() {
		return false
	}
	switch cmp.Or(cmp.Compare(q.Generation, s.generation), cmp.Compare(q.Epoch, s.row.Epoch)) {
	case 1:
		return true
	case 0:
		if s.row.State != placement.Running || !s.mine() || set.closing.Load() {
			return false
		}
		h := s.host
		return h == nil || h.epoch != q.Epoch || h.generation != q.Generation
	}
	return false
}

func (s *slot) park(in inbound) {
	set := s.region.set
	m := in.message
	size := len(m.Payload) + 256
	if len(s.parked) >= set.cfg.BufferCalls || s.parkedBytes+size > set.cfg.BufferBytes || !set.waiting.take(size) {
		// The sender keeps it and asks again.
		s.suspect(m.From.ID)
		s.reply(m, refusal(0, 0))
		return
	}
	until := time.Now().Add(set.cfg.ParkTimeout)
	if !m.Deadline.IsZero() && m.Deadline.Before(until) {
		until = m.Deadline
	}
	s.parked = append(s.parked, parked{inbound: in, until: until})
	s.parkedBytes += size
	s.activate()
}

// unpark handles what the table has caught up with, and gives back what has
// waited long enough.
func (s *slot) unpark(now time.Time) {
	set := s.region.set
	n := 0
	for ; n < len(s.parked); n++ {
		p := &s.parked[n]
		if s.ahead(&p.request) && now.Before(p.until) {
			break
		}
		size := len(p.message.Payload) + 256
		s.parkedBytes -= size
		set.waiting.give(size)
		s.handle(&p.inbound)
	}
	if n == len(s.parked) {
		s.parked = nil
		return
	}
	clear(s.parked[:n])
	s.parked = s.parked[n:]
}

// handle answers a request by what the table says now.
func (s *slot) handle(in *inbound) {
	q, m := &in.request, in.message
	set := s.region.set
	h := s.host
	takes := h != nil && (h.state == hostTakes || h.state == hostBarriers) &&
		h.epoch == q.Epoch && h.generation == q.Generation && !h.cut.Load()
	switch q.Kind {
	case wire.RequestBarrier:
		if takes {
			h.arrive(m.From.ID)
		}
		s.reply(m, wire.AppendShardReply(nil, &wire.ShardReply{}))
		return
	case wire.RequestProbe, wire.RequestCall:
	}
	if !takes || !h.Valid() || q.Kind == wire.RequestCall && h.distrusts(m.From.ID) {
		if takes || s.ahead(q) {
			s.suspect(m.From.ID)
		}
		s.reply(m, refusal(set.generation.Load(), set.index.Load()))
		return
	}
	if q.Kind == wire.RequestProbe {
		h.trust(m.From.ID)
		s.reply(m, wire.AppendShardReply(nil, &wire.ShardReply{}))
		return
	}
	c := set.calls.get()
	c.slot, c.def, c.answer, c.deadline = s, in.def, m.Reply, m.Deadline
	c.raw, c.encoded, c.request, c.decoded = q.Payload, true, in.value, in.decoded
	if e := h.entities[string(q.Entity)]; e != nil {
		c.id = e.id
	} else {
		c.id = string(q.Entity)
		if got := ShardOf(c.id, len(s.region.slots)); got != s.shard {
			s.reply(m, errorBytes(Malformed, fmt.Sprintf("entity %q belongs to shard %d, not %d", c.id, got, s.shard)))
			set.calls.put(c)
			return
		}
	}
	if len(q.CommandID) > 0 {
		c.commandID = string(q.CommandID)
	}
	if err := h.deliver(c); err != nil {
		r := errorReply(err)
		set.calls.put(c)
		s.reply(m, wire.AppendShardReply(nil, &r))
	}
}

// reply answers when the lock has been left.
func (s *slot) reply(m remote.Message, payload []byte) {
	s.later(func() { m.Reply(payload, nil) })
}

// arrive notes a member's barrier. The slot's lock is held.
func (h *host) arrive(id member.NodeID) {
	if h.arrived == nil {
		h.arrived = map[member.NodeID]struct{}{}
	}
	h.arrived[id] = struct{}{}
	if h.state == hostBarriers {
		h.slot.activate()
	}
}
