package remote

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-go/holdfast/cluster/member"
	remotev1 "github.com/holdfast-go/holdfast/proto/remote/v1"
)

// ackDelay is how long an acknowledgement waits for a reply to travel with.
const ackDelay = 25 * time.Millisecond

// laneStream is the accepting end of a lane's connection.
type laneStream struct {
	e       *Endpoint
	grpc    grpc.ServerStream
	conn    *inbound
	from    member.Node
	class   Class
	attempt uint64
	replies *replyQueue
	handled atomic.Uint64 // packets with frames whose messages were handled
	ack     *time.Timer
	ended   chan struct{} // closed when the reader has ended
}

// serveLane is the handler of the Lane RPC. It reads; a second goroutine
// writes replies.
func (e *Endpoint) serveLane(g grpc.ServerStream) error {
	conn := inboundOf(g.Context())
	if conn == nil {
		return status.Error(codes.Internal, "remote: stream without a connection")
	}
	in := new(packetIn)
	if err := in.receive(g); err != nil { // bounded by the handshake's timer
		e.garbage(conn)
		return err
	}
	s, w := e.greetLane(g, conn, in.hello)
	out, err := encodeControl(&remotev1.Packet{Welcome: w})
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	if w.GetRefusal() != "" {
		e.refused(conn, Refusal(w.GetRefusal()), w.GetText())
		if err := g.SendMsg(out); err != nil {
			return err
		}
		return status.Error(codes.FailedPrecondition, w.GetText())
	}
	defer e.endLane(s)
	if err := g.SendMsg(out); err != nil {
		return err
	}
	if !conn.establish() {
		return status.Error(codes.DeadlineExceeded, "remote: the handshake took too long")
	}
	return s.serve(in.hello.GetGeneration())
}

// greetLane judges a hello and makes room for the lane: messages of one sender
// and class are handled one at a time, also when a new connection comes before
// the end of the earlier one was noticed.
func (e *Endpoint) greetLane(g grpc.ServerStream, conn *inbound, h *remotev1.Hello) (*laneStream, *remotev1.Welcome) {
	w := e.judge(h)
	if w.GetRefusal() != "" {
		return nil, w
	}
	if p := h.GetPurpose(); p != purposeLane && p != purposeAsk || h.GetClass() > uint32(Data) {
		w.Refusal, w.Text = string(RefusedMalformed), fmt.Sprintf("no lane has purpose %q and class %d", clip(p), h.GetClass())
		return nil, w
	}
	s := &laneStream{
		e: e, grpc: g, conn: conn, class: Class(h.GetClass()), attempt: h.GetAttempt(),
		from:    member.Node{ID: member.NodeID(h.GetFromId()), Addr: h.GetFromAddr()},
		replies: newReplyQueue(e.cfg.Bounds), ended: make(chan struct{}),
	}
	if h.GetPurpose() == purposeAsk {
		return s, w
	}
	timeout := time.NewTimer(e.cfg.HandshakeTimeout)
	defer timeout.Stop()
	k := laneKey{s.from.ID, s.class}
	for {
		e.mu.Lock()
		before := e.incoming[k]
		if before == nil {
			e.incoming[k] = s
			e.mu.Unlock()
			return s, w
		}
		e.mu.Unlock()
		if before.attempt >= s.attempt {
			w.Refusal, w.Text = string(RefusedBusy), "a newer connection of this lane exists"
			return nil, w
		}
		_ = before.conn.Close()
		select {
		case <-before.ended:
		case <-g.Context().Done():
			w.Refusal, w.Text = string(RefusedBusy), "the caller went away"
			return nil, w
		case <-timeout.C:
			w.Refusal, w.Text = string(RefusedBusy), "a handler is still busy with a message from the connection before"
			return nil, w
		}
	}
}

// endLane makes room for the next connection of the lane.
func (e *Endpoint) endLane(s *laneStream) {
	e.mu.Lock()
	if k := (laneKey{s.from.ID, s.class}); e.incoming[k] == s {
		delete(e.incoming, k)
	}
	e.mu.Unlock()
	close(s.ended)
}

// serve hands messages to their handlers until the connection ends.
func (s *laneStream) serve(generation uint64) error {
	link := s.e.connected(s.from, generation, func() { _ = s.conn.Close() })
	s.ack = time.NewTimer(time.Hour)
	s.ack.Stop()
	var writer sync.WaitGroup
	writer.Go(s.write)
	err := s.read()
	s.e.disconnected(link, err != nil)
	s.replies.close()
	s.ack.Stop()
	// The writer may be stuck behind a dialer that does not read.
	t := time.AfterFunc(farewell, func() { _ = s.conn.Close() })
	writer.Wait()
	t.Stop()
	return err
}

// read returns nil when the dialer ended the lane in good order.
func (s *laneStream) read() error {
	in := new(packetIn)
	for {
		switch err := in.receive(s.grpc); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && in.malformed == nil:
			return err
		case err != nil:
			s.e.log.Warn("lane closed, a packet was malformed", slog.String("node", s.from.String()), slog.Any("error", in.malformed))
			return status.Error(codes.InvalidArgument, in.malformed.Error())
		}
		now := time.Now()
		handlers := *s.e.handlers.Load()
		repliers := make([]replier, len(in.frames)) // one allocation for the packet
		for i := range in.frames {
			s.receive(handlers, &in.frames[i], now, &repliers[i])
		}
		if len(in.frames) > 0 {
			s.handled.Add(1)
			s.ack.Reset(ackDelay)
		}
	}
}

// receive hands one message to its handler; r answers it when it is an ask.
func (s *laneStream) receive(handlers map[Service]Handler, f *arrived, now time.Time, r *replier) {
	m := Message{From: s.from, Class: s.class, Payload: f.payload}
	if f.ask != 0 {
		m.Deadline = now.Add(time.Duration(min(f.remaining, maxRemaining)) * time.Microsecond)
		r.s, r.ask = s, f.ask
		m.Reply = r.reply
	}
	switch h := handlers[Service(f.service)]; {
	case f.malformed != nil:
		m.Reply(nil, &Error{Code: CodeMalformed, Text: f.malformed.Error()})
	case h != nil:
		s.handle(h, m, f.service)
	case m.Reply != nil:
		m.Reply(nil, &Error{Code: CodeNoService, Text: fmt.Sprintf("%s has no service %q", s.e.self, clip(string(f.service)))})
	default:
		s.e.log.Debug("tell for an unknown service dropped", slog.String("node", s.from.String()), slog.String("service", clip(string(f.service))))
	}
}

// maxRemaining keeps a deadline from outside within what a Duration can hold.
const maxRemaining = uint64(24 * time.Hour / time.Microsecond)

// handle calls a handler; a panic in it costs its message, not the process.
func (s *laneStream) handle(h Handler, m Message, service []byte) {
	defer func() {
		if r := recover(); r != nil {
			s.e.log.Error("handler panicked", slog.String("service", string(service)), slog.String("node", s.from.String()),
				slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			if m.Reply != nil {
				m.Reply(nil, &Error{Code: CodeHandler, Text: fmt.Sprintf("the handler of %q panicked: %v", service, r)})
			}
		}
	}()
	h(m)
}

// replier answers one ask.
type replier struct {
	s    *laneStream
	ask  uint64
	done atomic.Bool
}

func (r *replier) reply(payload []byte, err error) {
	if !r.done.CompareAndSwap(false, true) {
		return
	}
	f := frame{ask: r.ask, payload: payload}
	if limit := r.s.e.cfg.Bounds.MaxMessage; err == nil && len(payload) > limit {
		err = &Error{Code: CodeHandler, Text: fmt.Sprintf("the reply has %d bytes, the bound is %d", len(payload), limit)}
	}
	if err != nil {
		coded := AsError(err)
		f = frame{ask: r.ask, code: clip(string(coded.Code)), text: strings.ToValidUTF8(coded.Text[:min(len(coded.Text), maxText)], "?")}
	}
	if !r.s.replies.put(f) {
		if ev := r.s.e.cfg.Events.RepliesLost; ev != nil {
			ev(r.s.from, r.s.class, 1)
		}
	}
}

// maxText bounds the text of an error on the wire.
const maxText = 4 << 10

// write sends replies until the queue closes.
func (s *laneStream) write() {
	var batch []frame
	var acked uint64
	for {
		gather(s.replies.len) // whoever is about to reply gets into this batch: fewer, larger packets
		batch = s.replies.take(batch[:0], s.e.cfg.BatchBytes)
		if len(batch) == 0 {
			select {
			case <-s.replies.wake:
				continue
			case <-s.ack.C:
				if s.handled.Load() == acked {
					continue
				}
			case <-s.replies.done:
				return
			}
		}
		acked = s.handled.Load()
		err := s.grpc.SendMsg(s.e.buffers.encode(batch, acked))
		clear(batch)
		if err != nil {
			s.replies.close()
			return
		}
	}
}
