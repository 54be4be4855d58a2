package remotetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
)

const (
	window     = 64   // messages on the wire before the sender waits
	replyQueue = 4096 // replies on the wire before a replier waits
	replyWait  = 200 * time.Millisecond
	backoffMin = 20 * time.Millisecond
	backoffMax = time.Second
)

// lane implements [remote.Lane].
type lane struct {
	node  *Node
	to    member.Node
	class remote.Class
	out   *remote.Outbox
	begun atomic.Bool
	done  chan struct{} // closed by close, after reason was set
	over  atomic.Bool
	// reason says why the lane was closed.
	reason atomic.Pointer[string]
	once   bool // serves one ask, of no generation
}

func newLane(n *Node, to member.Node, c remote.Class) *lane {
	return &lane{node: n, to: to, class: c, out: remote.NewOutbox(n.bounds, n.deadlines), done: make(chan struct{})}
}

func (l *lane) To() member.Node { return l.to }

func (l *lane) Post(p remote.Post) error {
	if _, err := l.out.Post(p); err != nil {
		return err
	}
	l.begin()
	return nil
}

func (l *lane) WaitRoom(ctx context.Context) error { return l.out.WaitRoom(ctx) }

// begin starts the lane's goroutine on first use.
func (l *lane) begin() {
	if l.begun.CompareAndSwap(false, true) && !l.node.start(l) {
		l.close("the transport was stopped")
		l.out.Close(l.why())
	}
}

// close ends the lane for good; its goroutine fails what is open.
func (l *lane) close(reason string) {
	if l.over.CompareAndSwap(false, true) {
		l.out.Seal()
		l.reason.Store(&reason)
		close(l.done)
	}
}

// why says why the lane was closed, "" when that is being written down.
func (l *lane) why() string {
	if r := l.reason.Load(); r != nil {
		return *r
	}
	return ""
}

// run connects the lane as often as it takes.
func (l *lane) run(ctx context.Context) {
	defer func() { l.out.Close(l.why()) }()
	dialing, stop := context.WithCancel(ctx)
	defer stop()
	l.node.spawn(func() {
		select {
		case <-l.done:
		case <-dialing.Done():
		}
		stop()
	})
	pause := backoffMin
	for {
		h := hello{from: l.node, to: l.to.ID, addr: l.to.Addr}
		if !l.once {
			h.generation = l.node.Generation()
		}
		found, err := l.node.net.dial(dialing, h)
		var refused *remote.RefusedError
		switch {
		case dialing.Err() != nil:
			l.close("the transport was stopped")
			return
		case errors.Is(err, errRefused):
			l.close("connection refused: nothing listens at " + l.to.Addr)
			return
		case errors.As(err, &refused) && refused.Refusal == remote.RefusedNode:
			l.close(refused.Text)
			return
		case err == nil:
			pause = backoffMin
			if !l.serve(ctx, found) {
				return
			}
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-l.done:
			t.Stop()
			return
		case <-ctx.Done():
			t.Stop()
			l.close("the transport was stopped")
			return
		}
		pause = min(2*pause, backoffMax)
	}
}

// laneConn is one connection of a lane.
type laneConn struct {
	*wire
	class remote.Class
	out   chan parcel
	back  chan parcel
	read  chan struct{} // closed when the acceptor's reader has ended
}

type parcel struct {
	at  time.Time
	msg remote.Outgoing
	ans remote.AskReply
}

// serve sends what is posted until the connection breaks. It reports false
// when the lane is over.
func (l *lane) serve(ctx context.Context, to *Node) bool {
	c := &laneConn{
		wire: newWire(l.node, to), class: l.class,
		out: make(chan parcel, window), back: make(chan parcel, replyQueue), read: make(chan struct{}),
	}
	if !to.admitLane(c, l.once) {
		return true
	}
	l.node.attach(c.wire)
	l.node.spawn(c.keep)
	l.node.spawn(func() { c.receiveReplies(l.out) })
	err := l.send(ctx, c)
	switch l.node.condition() {
	case running, created:
		c.sever(false) // in good order
	case killed:
		select { // the other side notices when it can
		case <-c.broken:
		case <-ctx.Done():
		}
	case closing, ended:
	}
	c.sever(true)
	if err != nil {
		l.close(err.Error())
		return false
	}
	l.out.LoseSent("the connection to " + l.to.String() + " broke")
	return true
}

func (l *lane) send(ctx context.Context, c *laneConn) error {
	var batch []remote.Outgoing
	for {
		ok, changed := l.node.net.sends(l.node)
		var wake <-chan struct{}
		if ok {
			batch = l.out.Take(batch[:0], 64<<10, time.Now())
			if len(batch) == 0 {
				wake = l.out.Wake()
			}
		}
		for _, m := range batch {
			at, arrives := l.node.net.admit(l.node, c.b)
			if !arrives {
				continue
			}
			select {
			case c.out <- parcel{at: at, msg: m}:
			case <-c.broken:
				return nil
			case <-l.done:
				return errors.New("the lane was closed")
			}
		}
		if len(batch) > 0 {
			batch = batch[:0]
			continue
		}
		select {
		case <-wake:
		case <-changed:
		case <-c.broken:
			return nil
		case <-l.done:
			return errors.New("the lane was closed")
		case <-ctx.Done():
			return errors.New("the transport was stopped")
		}
	}
}

func (c *laneConn) receiveReplies(out *remote.Outbox) {
	for {
		select {
		case p := <-c.back:
			if !c.arrive(c.b, c.a, p.at) {
				return
			}
			out.Complete([]remote.AskReply{p.ans})
		case <-c.broken:
			return
		}
	}
}

// admitLane starts the reader of an accepted lane. Messages of one sender and
// class are handled one at a time also across connections: the reader waits
// for the one before.
func (n *Node) admitLane(c *laneConn, once bool) bool {
	n.attach(c.wire)
	var before *laneConn
	if !once {
		k := inboundKey{c.a.self.ID, c.class}
		n.mu.Lock()
		before = n.inbound[k]
		n.inbound[k] = c
		n.mu.Unlock()
	}
	ok := n.spawn(func() {
		defer n.forgetInbound(c)
		defer close(c.read)
		if before != nil {
			before.sever(false)
			<-before.read
		}
		for {
			select {
			case p := <-c.out:
				if !c.arrive(c.a, c.b, p.at) {
					return
				}
				n.receive(c, p.msg)
			case <-c.broken:
				return
			}
		}
	})
	if !ok {
		close(c.read)
		n.detach(c.wire)
	}
	return ok
}

func (n *Node) forgetInbound(c *laneConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k := (inboundKey{c.a.self.ID, c.class}); n.inbound[k] == c {
		delete(n.inbound, k)
	}
}

func (n *Node) receive(c *laneConn, o remote.Outgoing) {
	m := remote.Message{From: c.a.self, Class: c.class, Payload: append([]byte(nil), o.Payload...), Deadline: o.Deadline}
	if o.Ask != 0 {
		var done atomic.Bool
		m.Reply = func(payload []byte, err error) {
			if done.CompareAndSwap(false, true) {
				c.reply(o.Ask, payload, err)
			}
		}
	}
	h := n.handler(o.Service)
	if h == nil {
		if m.Reply != nil {
			m.Reply(nil, &remote.Error{Code: remote.CodeNoService, Text: fmt.Sprintf("%s has no service %q", n.self, o.Service)})
		}
		return
	}
	defer func() {
		if r := recover(); r != nil && m.Reply != nil {
			m.Reply(nil, &remote.Error{Code: remote.CodeHandler, Text: fmt.Sprintf("the handler of %q panicked: %v", o.Service, r)})
		}
	}()
	h(m)
}

func (c *laneConn) reply(ask uint64, payload []byte, err error) {
	if limit := c.b.bounds.MaxMessage; err == nil && len(payload) > limit {
		err = &remote.Error{Code: remote.CodeHandler, Text: fmt.Sprintf("the reply has %d bytes, the bound is %d", len(payload), limit)}
	}
	ans := remote.AskReply{Ask: ask, Payload: append([]byte(nil), payload...)}
	if err != nil {
		ans.Payload, ans.Err = nil, remote.AsError(err)
	}
	at, arrives := c.net.admit(c.b, c.a)
	if !arrives {
		return
	}
	select {
	case c.back <- parcel{at: at, ans: ans}:
		return
	default:
	}
	t := time.NewTimer(replyWait)
	defer t.Stop()
	select {
	case c.back <- parcel{at: at, ans: ans}:
	case <-c.broken:
	case <-t.C:
	}
}
