package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Run implements [Transport]. It may be called once.
func (e *Endpoint) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	e.mu.Lock()
	if e.launch != nil {
		e.mu.Unlock()
		return errors.New("remote: Run was called before; make a new Endpoint with a new node id")
	}
	e.launch = func(l *lane) { e.wg.Go(func() { l.run(work) }) }
	waiting := e.waiting
	e.waiting = nil
	e.mu.Unlock()

	failed := make(chan error, 1)
	server := e.server() //nolint:contextcheck // each stream that it serves brings its own
	e.spawn(func() { e.deadlines.Run(work) })
	e.spawn(func() { e.serveHTTP2(server) })
	for _, l := range waiting {
		e.start(l)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() { e.accept(work, failed) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}

	// From here on only probes are answered: what runs on this node is not over
	// yet, so its address must not refuse.
	e.closing.Store(true)
	e.mu.Lock()
	lanes := slices.Collect(maps.Values(e.lanes))
	listeners := slices.Collect(maps.Values(e.listeners))
	e.mu.Unlock()
	for _, l := range lanes {
		l.close("the endpoint was stopped")
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	server.Stop()
	e.mu.Lock()
	e.stopped = true
	links := slices.Collect(maps.Keys(e.links))
	inbounds := slices.Collect(maps.Keys(e.inbounds))
	e.mu.Unlock()
	stop()
	for _, l := range links {
		l.close()
		e.disconnected(l, false)
	}
	for _, c := range inbounds {
		_ = c.Close()
	}
	e.wg.Wait()
	_ = e.listener.Close()
	accepting.Wait()
	return err
}

// accept takes connections until the listener closes.
func (e *Endpoint) accept(ctx context.Context, failed chan<- error) {
	pause := backoffMin
	for {
		c, err := e.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			if !e.closing.Load() {
				failed <- fmt.Errorf("remote: the listener on %s was closed: %w", e.listener.Addr(), err)
			}
			return
		case err != nil: // such as too many open files
			e.log.WarnContext(ctx, "accept failed", slog.Any("error", err))
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
			}
			pause = min(2*pause, backoffMax)
			continue
		}
		pause = backoffMin
		e.admit(c)
	}
}

// admit starts the handshake of an accepted connection within the bounds.
func (e *Endpoint) admit(c net.Conn) {
	select {
	case e.conns <- struct{}{}:
	default:
		e.overload(c)
		return
	}
	select {
	case e.handshakes <- struct{}{}:
	default:
		<-e.conns
		e.overload(c)
		return
	}
	in := &inbound{Conn: c, e: e, raw: c}
	e.mu.Lock()
	e.inbounds[in] = struct{}{}
	in.timer = time.AfterFunc(e.cfg.HandshakeTimeout, in.expire)
	e.mu.Unlock()
	if !e.spawn(in.serve) {
		_ = in.Close()
	}
}

func (e *Endpoint) overload(c net.Conn) {
	e.log.Warn("connection closed, too many are open or in their handshake", slog.String("remote_addr", c.RemoteAddr().String()))
	if f := e.cfg.Events.Overload; f != nil {
		f(c.RemoteAddr().String())
	}
	_ = c.Close()
}

// garbage closes a connection that does not speak our language.
func (e *Endpoint) garbage(c *inbound) {
	if c.closed.Load() && e.closing.Load() {
		return
	}
	e.log.Debug("connection closed, it spoke no known protocol", slog.String("remote_addr", c.RemoteAddr().String()))
	if f := e.cfg.Events.Garbage; f != nil {
		f(c.RemoteAddr().String())
	}
	_ = c.Close()
}

// refused reports a connection that this node would not have.
func (e *Endpoint) refused(c net.Conn, why Refusal, text string) {
	e.log.Info("connection refused", slog.String("remote_addr", c.RemoteAddr().String()), slog.String("reason", string(why)), slog.String("text", text))
	if f := e.cfg.Events.HelloRefused; f != nil {
		f(c.RemoteAddr().String(), why)
	}
}

// inbound is an accepted connection. Its handshake must end in time.
type inbound struct {
	net.Conn // over TLS when configured
	e        *Endpoint
	raw      net.Conn
	timer    *time.Timer

	head        []byte // what was read to tell the protocol, to be read again
	established atomic.Bool
	closed      atomic.Bool
	once        sync.Once // gives the handshake token back
}

// serve tells by the first bytes what the connection speaks.
func (c *inbound) serve() {
	if c.e.serverTLS != nil {
		secure := tls.Server(c.raw, c.e.serverTLS)
		c.e.mu.Lock() // Close may look at Conn
		c.Conn = secure
		c.e.mu.Unlock()
		if err := secure.Handshake(); err != nil { //nolint:noctx // its timer and Close end it
			c.e.log.Debug("tls handshake failed", slog.String("remote_addr", c.raw.RemoteAddr().String()), slog.Any("error", err))
			c.e.garbage(c)
			return
		}
	}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		c.e.garbage(c)
		return
	}
	switch string(head) {
	case magic:
		c.e.serveRaw(c)
	case http2Preface:
		c.head = head
		if !c.e.virtual.deliver(c) {
			_ = c.Close()
		}
	default:
		c.e.garbage(c)
	}
}

// Read implements [net.Conn].
func (c *inbound) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// RemoteAddr implements [net.Conn].
func (c *inbound) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// establish ends the handshake. It reports false when its time had run out.
func (c *inbound) establish() bool {
	if !c.timer.Stop() && !c.established.Load() {
		return false
	}
	c.established.Store(true)
	c.once.Do(func() { <-c.e.handshakes })
	return !c.closed.Load()
}

func (c *inbound) expire() {
	if !c.established.Load() {
		c.e.garbage(c)
	}
}

// Close implements [net.Conn].
func (c *inbound) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return nil
	}
	c.e.mu.Lock()
	delete(c.e.inbounds, c)
	conn, timer := c.Conn, c.timer
	c.e.mu.Unlock()
	timer.Stop()
	c.once.Do(func() { <-c.e.handshakes })
	<-c.e.conns
	if !c.established.Load() {
		conn = c.raw // no TLS farewell to somebody unknown, who may not read it
	}
	return conn.Close()
}

// virtualListener hands accepted connections to the gRPC server.
type virtualListener struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newVirtualListener(addr net.Addr) *virtualListener {
	return &virtualListener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *virtualListener) deliver(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.done:
		return false
	}
}

// Accept implements [net.Listener].
func (l *virtualListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (l *virtualListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements [net.Listener].
func (l *virtualListener) Addr() net.Addr { return l.addr }
