package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/cluster/member"
	remotev1 "github.com/holdfast-go/holdfast/proto/remote/v1"
)

// lane implements [Lane]: an outbox and the connection it empties into.
//
//	begin ──> connecting ──> connected ──> connecting ...
//	              │  refused, or another incarnation answers
//	              ▼
//	           closed
type lane struct {
	e       *Endpoint
	to      member.Node
	class   Class
	purpose string
	out     *Outbox

	begun   atomic.Bool
	over    atomic.Bool
	done    chan struct{} // closed by close, after reason was set
	reason  atomic.Pointer[string]
	attempt uint64 // connections so far; only run uses it
}

func newLane(e *Endpoint, to member.Node, c Class, purpose string) *lane {
	return &lane{e: e, to: to, class: c, purpose: purpose, out: NewOutbox(e.cfg.Bounds, e.deadlines), done: make(chan struct{})}
}

// To implements [Lane].
func (l *lane) To() member.Node { return l.to }

// Post implements [Lane].
func (l *lane) Post(p Post) error {
	if _, err := l.out.Post(p); err != nil {
		return err
	}
	if !l.begun.Load() {
		l.begin()
	}
	return nil
}

// WaitRoom implements [Lane].
func (l *lane) WaitRoom(ctx context.Context) error { return l.out.WaitRoom(ctx) }

// begin starts the lane's goroutine on first use.
func (l *lane) begin() {
	if !l.begun.CompareAndSwap(false, true) {
		return
	}
	if !l.e.start(l) {
		l.close("the endpoint was stopped")
		l.finish()
	}
}

// close ends the lane for good: what comes is refused at once, and the lane's
// goroutine fails what is open. The caller may hold locks that Done wants.
func (l *lane) close(reason string) {
	if !l.over.CompareAndSwap(false, true) {
		return
	}
	l.out.Seal()
	l.reason.Store(&reason)
	close(l.done)
}

// finish fails what is open in a closed lane.
func (l *lane) finish() {
	reason := "" // whoever closes it is writing it down
	if r := l.reason.Load(); r != nil {
		reason = *r
	}
	if n := l.out.Close(reason); n > 0 {
		l.tellsLost(n)
	}
}

func (l *lane) tellsLost(n int) {
	l.e.log.Debug("tells lost", slog.String("node", l.to.String()), slog.Int("class", int(l.class)), slog.Int("count", n))
	if f := l.e.cfg.Events.TellsLost; f != nil {
		f(l.to, l.class, n)
	}
}

// dead closes the lane because its incarnation is proven dead.
func (l *lane) dead(reason string) {
	l.e.log.Info("lane closed", slog.String("node", l.to.String()), slog.Int("class", int(l.class)), slog.String("reason", reason))
	l.close(reason)
	if f := l.e.cfg.Events.LaneClosed; f != nil {
		f(l.to, l.class, reason)
	}
}

// run connects the lane as often as it takes.
func (l *lane) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// While connecting, closing the lane ends the attempt.
	connecting, stop := context.WithCancel(ctx)
	defer stop()
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-l.done:
		case <-ctx.Done():
		}
		stop()
	})
	defer l.finish()
	defer watch.Wait()
	defer cancel()
	pause := backoffMin
	complaint, hasty := "", false
	for {
		c, err := l.connect(connecting, ctx)
		var refused *RefusedError
		switch {
		case connecting.Err() != nil:
			if c != nil {
				c.end()
			}
			l.close("the endpoint was stopped")
			return
		case err == nil:
			up := time.Now()
			if !l.serve(ctx, c) {
				return
			}
			// At once, because a process that was killed refuses now; but not
			// again and again to one that accepts and then breaks off.
			lasted := time.Since(up) > backoffMax
			if lasted {
				pause = backoffMin
			}
			if lasted || !hasty {
				hasty = !lasted
				continue
			}
		case errors.Is(err, errRefused):
			l.dead("nothing listens at " + l.to.Addr)
			return
		case errors.As(err, &refused) && refused.Refusal == RefusedNode:
			l.dead(refused.Text)
			return
		}
		if err != nil && err.Error() != complaint {
			complaint = err.Error()
			l.e.log.WarnContext(ctx, "lane cannot connect, trying on", slog.String("node", l.to.String()), slog.Int("class", int(l.class)), slog.Any("error", err))
		}
		t := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-t.C:
		case <-connecting.Done():
			t.Stop()
		}
		pause = min(2*pause, backoffMax)
	}
}

// laneConn is one connection of a lane.
type laneConn struct {
	raw    net.Conn
	cc     *grpc.ClientConn
	stream grpc.ClientStream
	cancel context.CancelFunc
	link   *link

	dead chan struct{} // closed when the reader ended
	err  error         // why it ended

	mu    sync.Mutex
	tells []int // tells in each packet that was sent and not yet acknowledged
	acked uint64
}

func (c *laneConn) end() {
	c.cancel()
	_ = c.cc.Close()
	_ = c.raw.Close()
}

// connect dials the node and opens the lane. dialing bounds the attempt, ctx
// the connection.
func (l *lane) connect(dialing, ctx context.Context) (*laneConn, error) {
	dialing, cancelDialing := l.e.handshakeContext(dialing)
	defer cancelDialing()
	raw, err := l.e.dial(dialing, l.to.Addr)
	if err != nil {
		return nil, err
	}
	cc, err := l.e.client(raw)
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("remote: grpc: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &laneConn{raw: raw, cc: cc, cancel: cancel, dead: make(chan struct{})}
	stop := context.AfterFunc(dialing, cancel)
	l.attempt++
	w, err := c.greet(ctx, l.hello())
	if err == nil {
		err = accepted(w, l.to.ID)
	}
	if !stop() && err == nil {
		err = context.Cause(dialing)
	}
	if err != nil {
		c.end()
		return nil, err
	}
	generation := w.GetGeneration()
	if l.purpose == purposeAsk {
		generation = 0
	}
	c.link = l.e.connected(l.to, generation, func() { _ = raw.Close() })
	return c, nil
}

func (l *lane) hello() *remotev1.Hello {
	h := l.e.hello(l.to.ID, l.purpose)
	h.Class, h.Attempt = uint32(l.class), l.attempt
	return h
}

func (c *laneConn) greet(ctx context.Context, h *remotev1.Hello) (*remotev1.Welcome, error) {
	var err error
	desc := &grpc.StreamDesc{StreamName: lanesMethod, ServerStreams: true, ClientStreams: true}
	if c.stream, err = c.cc.NewStream(ctx, desc, "/"+lanesService+"/"+lanesMethod); err != nil {
		return nil, fmt.Errorf("remote: open lane: %w", err)
	}
	out, err := encodeControl(&remotev1.Packet{Hello: h})
	if err != nil {
		return nil, err
	}
	if err := c.stream.SendMsg(out); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("remote: send hello: %w", err)
	}
	in := new(packetIn)
	if err := in.receive(c.stream); err != nil {
		return nil, fmt.Errorf("remote: read welcome: %w", err)
	}
	if in.welcome == nil {
		return nil, errors.New("remote: the answer to the hello is no welcome")
	}
	return in.welcome, nil
}

// serve sends what is posted until the connection breaks. It reports false
// when the lane is over.
func (l *lane) serve(ctx context.Context, c *laneConn) bool {
	l.e.log.DebugContext(ctx, "lane up", slog.String("node", l.to.String()), slog.Int("class", int(l.class)))
	if f := l.e.cfg.Events.LaneUp; f != nil {
		f(l.to, l.class)
	}
	var reader sync.WaitGroup
	reader.Go(func() { l.read(c) })
	over := l.write(ctx, c)
	if over {
		l.close("the endpoint was stopped")
		l.finish()
	}
	if over && !l.e.closing.Load() {
		// Let the other side see the end in good order.
		_ = c.stream.CloseSend()
		t := time.NewTimer(farewell)
		select {
		case <-c.dead:
		case <-t.C:
		}
		t.Stop()
	}
	c.end()
	reader.Wait()
	l.e.disconnected(c.link, !over)
	l.e.log.DebugContext(ctx, "lane down", slog.String("node", l.to.String()), slog.Int("class", int(l.class)), slog.Any("error", c.err))
	if f := l.e.cfg.Events.LaneDown; f != nil {
		f(l.to, l.class, c.err)
	}
	l.out.LoseSent(fmt.Sprintf("the connection with %s broke: %v", l.to, c.err))
	lost := 0
	for _, n := range c.tells {
		lost += n
	}
	if lost > 0 {
		l.tellsLost(lost)
	}
	return !over
}

// farewell is how long the end of a connection in good order may take.
const farewell = 100 * time.Millisecond

// write sends batches until the connection breaks (false) or the lane is
// over (true).
func (l *lane) write(ctx context.Context, c *laneConn) (over bool) {
	var batch []Outgoing
	var frames []frame
	for {
		gather(l.out.waiting) // whoever is about to post gets into this batch: fewer, larger packets
		now := time.Now()
		batch = l.out.Take(batch[:0], l.e.cfg.BatchBytes, now)
		if len(batch) == 0 {
			select {
			case <-l.out.Wake():
				continue
			case <-c.dead:
				return false
			case <-l.done:
				return true
			case <-ctx.Done():
				return true
			}
		}
		tells := 0
		frames = frames[:0]
		for i := range batch {
			m := &batch[i]
			f := frame{ask: m.Ask, service: string(m.Service), payload: m.Payload}
			if m.Ask == 0 {
				tells++
			} else {
				f.remaining = remainingMicros(m.Deadline, now)
			}
			frames = append(frames, f)
		}
		c.mu.Lock()
		c.tells = append(c.tells, tells)
		c.mu.Unlock()
		err := c.stream.SendMsg(l.e.buffers.encode(frames, 0))
		clear(frames)
		clear(batch)
		if err != nil {
			c.cancel()
			<-c.dead // the reader knows why
			return false
		}
	}
}

// gather lets other goroutines run for as long as they make the batch grow, and
// at least once.
func gather(size func() int) {
	n := 0
	for range maxGather {
		runtime.Gosched()
		grown := size()
		if grown == n {
			return
		}
		n = grown
	}
}

// maxGather bounds how long a packet waits for others to get into it.
const maxGather = 8

// read receives replies until the connection breaks.
func (l *lane) read(c *laneConn) {
	defer close(c.dead)
	in := new(packetIn)
	var replies []AskReply
	for {
		if err := in.receive(c.stream); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the other side closed the lane")
			}
			c.err = err
			return
		}
		c.acknowledge(in.handled)
		replies = replies[:0]
		for i := range in.frames {
			f := &in.frames[i]
			r := AskReply{Ask: f.ask, Payload: f.payload}
			switch {
			case f.malformed != nil:
				r.Payload, r.Err = nil, &Error{Code: CodeMalformed, Text: "the reply: " + f.malformed.Error()}
			case len(f.code) > 0:
				r.Payload, r.Err = nil, &Error{Code: Code(f.code), Text: string(f.text)}
			}
			replies = append(replies, r)
		}
		l.out.Complete(replies)
		clear(replies)
	}
}

// acknowledge forgets the tells of packets that were handled.
func (c *laneConn) acknowledge(handled uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := handled - c.acked; handled > c.acked && n <= uint64(len(c.tells)) {
		c.tells = append(c.tells[:0], c.tells[n:]...)
		c.acked = handled
	}
}
