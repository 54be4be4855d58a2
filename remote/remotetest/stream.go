package remotetest

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/remote"
)

// streamWindow is how many bytes wait in one direction of a stream.
const streamWindow = 256 << 10

type addr string

func (a addr) Network() string { return "memory" }
func (a addr) String() string  { return string(a) }

// listener implements [net.Listener] for the streams of one purpose.
type listener struct {
	addr  addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newListener(a string) *listener {
	return &listener{addr: addr(a), conns: make(chan net.Conn, 64), done: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }

// accept makes the stream between a dialer and this node.
func (n *Node) accept(from *Node, purpose string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[purpose]
	n.mu.Unlock()
	if l == nil {
		return nil, &remote.RefusedError{Refusal: remote.RefusedPurpose, Text: fmt.Sprintf("%s accepts no streams for %q", n.self, purpose)}
	}
	w := newWire(from, n)
	there, back := newHalf(w, from, n), newHalf(w, n, from)
	ours := &stream{wire: w, in: there, out: back, local: addr(n.self.Addr), remote: addr(from.self.Addr)}
	theirs := &stream{wire: w, in: back, out: there, local: addr(from.self.Addr), remote: addr(n.self.Addr)}
	if !n.spawn(w.keep) {
		return nil, &remote.RefusedError{Refusal: remote.RefusedClosing, Text: n.self.String() + " is shutting down"}
	}
	n.attach(w)
	from.attach(w)
	select {
	case <-l.done:
	case l.conns <- ours:
		return theirs, nil
	default:
	}
	w.sever(false)
	return nil, &remote.RefusedError{Refusal: remote.RefusedBusy, Text: fmt.Sprintf("%s does not accept its streams for %q", n.self, purpose)}
}

// half is one direction of a stream.
type half struct {
	wire     *wire
	from, to *Node

	mu      sync.Mutex
	chunks  []chunk
	bytes   int
	eof     bool // the writer closed
	gone    bool // the reader closed
	changed chan struct{}
	rd, wd  time.Time // deadlines of reader and writer
}

type chunk struct {
	at   time.Time
	data []byte
}

func newHalf(w *wire, from, to *Node) *half {
	return &half{wire: w, from: from, to: to, changed: make(chan struct{})}
}

func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

// wait blocks until something changed, the network did, the time came or the
// connection broke.
func (h *half) wait(changed, network <-chan struct{}, until time.Time) {
	var at <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		at = t.C
	}
	select {
	case <-changed:
	case <-network:
	case <-at:
	case <-h.wire.broken:
	}
}

func passed(d time.Time) bool { return !d.IsZero() && !time.Now().Before(d) }

func (h *half) broken() bool {
	select {
	case <-h.wire.broken:
		return true
	default:
		return false
	}
}

func (h *half) read(p []byte) (int, error) {
	for {
		open, network := h.wire.net.delivers(h.from, h.to)
		h.mu.Lock()
		until, changed := h.rd, h.changed
		switch {
		case h.gone:
			h.mu.Unlock()
			return 0, net.ErrClosed
		case passed(h.rd):
			h.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			h.mu.Unlock()
			return 0, nil
		case open && len(h.chunks) > 0 && !h.chunks[0].at.After(time.Now()):
			n := copy(p, h.chunks[0].data)
			if h.chunks[0].data = h.chunks[0].data[n:]; len(h.chunks[0].data) == 0 {
				h.chunks = h.chunks[1:]
			}
			h.mu.Unlock()
			h.change(func() { h.bytes -= n })
			return n, nil
		case open && h.eof && len(h.chunks) == 0:
			h.mu.Unlock()
			return 0, io.EOF
		case h.broken():
			h.mu.Unlock()
			return 0, syscall.ECONNRESET
		case len(h.chunks) > 0 && (until.IsZero() || h.chunks[0].at.Before(until)) && h.chunks[0].at.After(time.Now()):
			until = h.chunks[0].at
		}
		h.mu.Unlock()
		h.wait(changed, network, until)
	}
}

func (h *half) write(p []byte) (int, error) {
	written := 0
	for {
		h.mu.Lock()
		until, changed := h.wd, h.changed
		switch {
		case h.eof:
			h.mu.Unlock()
			return written, net.ErrClosed
		case h.gone || h.broken():
			h.mu.Unlock()
			return written, syscall.EPIPE
		case passed(h.wd):
			h.mu.Unlock()
			return written, os.ErrDeadlineExceeded
		}
		n := max(0, min(len(p), streamWindow-h.bytes))
		h.mu.Unlock()
		if n > 0 {
			at, _ := h.wire.net.admit(h.from, h.to)
			data := append([]byte(nil), p[:n]...)
			h.change(func() {
				h.chunks = append(h.chunks, chunk{at, data})
				h.bytes += n
			})
			p = p[n:]
			written += n
		}
		if len(p) == 0 {
			return written, nil
		}
		if n == 0 {
			h.wait(changed, nil, until)
		}
	}
}

// stream implements [net.Conn].
type stream struct {
	wire          *wire
	in, out       *half
	local, remote addr
}

func (s *stream) Read(p []byte) (int, error)  { return s.in.read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.out.write(p) }
func (s *stream) LocalAddr() net.Addr         { return s.local }
func (s *stream) RemoteAddr() net.Addr        { return s.remote }

func (s *stream) Close() error {
	s.in.change(func() { s.in.gone = true })
	s.out.change(func() { s.out.eof = true })
	s.in.mu.Lock()
	both := s.in.eof // the other end closed before
	s.in.mu.Unlock()
	if both {
		s.wire.sever(false)
	}
	return nil
}

func (s *stream) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

func (s *stream) SetReadDeadline(t time.Time) error {
	s.in.change(func() { s.in.rd = t })
	return nil
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	s.out.change(func() { s.out.wd = t })
	return nil
}
