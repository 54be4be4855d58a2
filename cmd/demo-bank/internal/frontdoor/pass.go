package frontdoor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// copyBuffer is the size of the buffer for each direction of a connection.
const copyBuffer = 32 << 10

// serve passes one connection to a target until both directions have ended.
func (d *Door) serve(ctx context.Context, client net.Conn) {
	backend, err := d.dial(ctx)
	if err != nil {
		d.cfg.Logger.WarnContext(ctx, "connection refused",
			slog.String("client", client.RemoteAddr().String()), slog.Any("err", err))
		reset(client)
		return
	}
	p := &pair{idle: d.cfg.IdleTimeout, start: time.Now()}
	stop := context.AfterFunc(ctx, func() {
		reset(client)
		reset(backend)
	})
	defer stop()

	var wg sync.WaitGroup
	wg.Go(func() { p.copy(backend, client) })
	p.copy(client, backend)
	wg.Wait()
	closeConn(client)
	closeConn(backend)
}

var errNoTarget = errors.New("no target is ready")

// dial connects to a ready target: to the next one if one fails, each once.
func (d *Door) dial(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{Timeout: d.cfg.DialTimeout}
	err := errNoTarget
	for _, t := range d.pick() {
		var conn net.Conn
		if conn, err = dialer.DialContext(ctx, "tcp", t.Addr); err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		d.cfg.Logger.DebugContext(ctx, "dial failed", slog.String("target", t.Name), slog.Any("err", err))
	}
	return nil, err
}

// pair is what the two directions of a connection share.
type pair struct {
	idle  time.Duration
	start time.Time
	// last is when a byte passed last, in either direction, counted from start.
	last atomic.Int64
}

func (p *pair) touch() { p.last.Store(int64(time.Since(p.start))) }

func (p *pair) silent() time.Duration { return time.Since(p.start) - time.Duration(p.last.Load()) }

// copy moves bytes from src to dst. When src ends it ends dst's direction too;
// on a failure it cuts both connections, which ends the other direction.
func (p *pair) copy(dst, src net.Conn) {
	buf := make([]byte, copyBuffer)
	for {
		err := src.SetReadDeadline(time.Now().Add(p.idle - min(p.idle, p.silent()) + time.Millisecond))
		n := 0
		if err == nil {
			n, err = src.Read(buf)
		}
		if n > 0 {
			p.touch()
			werr := dst.SetWriteDeadline(time.Now().Add(p.idle))
			if werr == nil {
				_, werr = dst.Write(buf[:n])
			}
			if werr != nil {
				reset(dst)
				reset(src)
				return
			}
			p.touch()
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			if half, ok := dst.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
				reset(dst)
				reset(src)
			}
			return
		case errors.Is(err, os.ErrDeadlineExceeded) && p.silent() < p.idle:
			// The other direction was active.
		default:
			reset(dst)
			reset(src)
			return
		}
	}
}

// reset closes a connection so that the other end sees a failure, not an end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only when closed already
	}
	closeConn(c)
}

// closeConn closes c; there is nothing to do about a failure, and closing twice is fine.
func closeConn(c net.Conn) { _ = c.Close() }
