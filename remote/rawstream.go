package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// streamBacklog is the number of streams of one purpose that wait for Accept.
const streamBacklog = 64

// DialStream implements [Transport]. A node that would not have the stream is
// reported as a [*RefusedError].
func (e *Endpoint) DialStream(ctx context.Context, to member.Node, purpose string) (net.Conn, error) {
	if e.closing.Load() {
		return nil, ErrNotRunning
	}
	c, w, err := e.open(ctx, to.Addr, e.hello(to.ID, purposeStream+purpose))
	if err == nil {
		if err = accepted(w, to.ID); err != nil {
			_ = c.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("remote: open stream %q to %s: %w", purpose, to, err)
	}
	return e.newStream(c, to, w.GetGeneration()), nil
}

// AcceptStreams implements [Transport].
func (e *Endpoint) AcceptStreams(purpose string) net.Listener {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.listeners[purpose]
	if l == nil {
		l = &streamListener{addr: e.listener.Addr(), streams: make(chan net.Conn, streamBacklog), done: make(chan struct{})}
		e.listeners[purpose] = l
	}
	return l
}

func (e *Endpoint) listenerOf(purpose string) *streamListener {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.listeners[purpose]
}

// stream is a raw connection with a node after its handshake.
type stream struct {
	net.Conn
	e      *Endpoint
	link   *link
	closed atomic.Bool
	once   sync.Once
}

func (e *Endpoint) newStream(c net.Conn, with member.Node, generation uint64) *stream {
	s := &stream{Conn: c, e: e}
	s.link = e.connected(with, generation, func() { _ = c.Close() })
	return s
}

// Read implements [net.Conn].
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err != nil {
		s.failed(err)
	}
	return n, err
}

// Write implements [net.Conn].
func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if err != nil {
		s.failed(err)
	}
	return n, err
}

// Close implements [net.Conn].
func (s *stream) Close() error {
	s.closed.Store(true)
	s.e.disconnected(s.link, false)
	return s.Conn.Close()
}

// failed reports the other node lost unless this side ended the stream.
func (s *stream) failed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) || s.closed.Load() {
		return
	}
	s.once.Do(func() { s.e.disconnected(s.link, true) })
}

// streamListener implements [net.Listener] for the streams of one purpose.
type streamListener struct {
	addr    net.Addr
	streams chan net.Conn

	mu       sync.Mutex
	reserved int
	done     chan struct{}
	closed   bool
}

// reserve takes a place in the backlog.
func (l *streamListener) reserve() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.reserved+len(l.streams) >= streamBacklog {
		return false
	}
	l.reserved++
	return true
}

func (l *streamListener) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved--
}

// deliver hands a stream to Accept, into the place that was reserved for it.
func (l *streamListener) deliver(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserved--
	if l.closed {
		_ = c.Close()
		return
	}
	l.streams <- c
}

// Accept implements [net.Listener].
func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.streams:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *streamListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.done)
	for {
		select {
		case c := <-l.streams:
			_ = c.Close()
		default:
			return nil
		}
	}
}

// Addr implements [net.Listener].
func (l *streamListener) Addr() net.Addr { return l.addr }
