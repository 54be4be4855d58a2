package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Drain lets a server stop without failing requests: it counts the requests in
// flight, knows when the last connection came, and while draining asks clients to
// leave. The zero value is ready to use; give it to [ServerConfig.Drain], or use
// Middleware and ConnState with another server.
type Drain struct {
	mu       sync.Mutex
	started  time.Time // zero while not draining
	lastConn time.Time
	inFlight int
	idle     chan struct{} // closed when inFlight becomes 0; nil when nobody waits
}

// Start begins to drain. Starting again changes nothing.
func (d *Drain) Start() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started.IsZero() {
		d.started = time.Now()
	}
}

// Draining reports whether Start was called.
func (d *Drain) Draining() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.started.IsZero()
}

// InFlight is the number of requests that have begun and not ended.
func (d *Drain) InFlight() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inFlight
}

// LastConn is when the last new connection came, the zero time when none has.
func (d *Drain) LastConn() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lastConn
}

// ConnState is for [http.Server.ConnState].
func (d *Drain) ConnState(_ net.Conn, s http.ConnState) {
	if s != http.StateNew {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastConn = time.Now()
}

// Middleware counts requests and, while draining, answers them with Connection:
// close, so that clients with a kept connection go elsewhere.
func (d *Drain) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.inFlight++
		draining := !d.started.IsZero()
		d.mu.Unlock()
		defer d.ended()
		if draining {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func (d *Drain) ended() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inFlight--
	if d.inFlight == 0 && d.idle != nil {
		close(d.idle)
		d.idle = nil
	}
}

// WaitQuiet returns nil when no new connection has come for quiet, counted from
// Start at the earliest: the load balancer has stopped sending. It returns an
// error when ctx ends first. A load balancer that checks the health of this very
// port opens connections for ever; there ctx decides.
func (d *Drain) WaitQuiet(ctx context.Context, quiet time.Duration) error {
	d.Start()
	for {
		d.mu.Lock()
		since := d.started
		if d.lastConn.After(since) {
			since = d.lastConn
		}
		d.mu.Unlock()
		left := quiet - time.Since(since)
		if left <= 0 {
			return nil
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("httpapi: new connections still came %v ago, want %v without: %w", time.Since(since).Round(time.Millisecond), quiet, context.Cause(ctx))
		}
	}
}

// WaitRequests returns nil when no request is in flight, or an error when ctx
// ends first. Requests that begin later are not waited for.
func (d *Drain) WaitRequests(ctx context.Context) error {
	d.mu.Lock()
	if d.inFlight == 0 {
		d.mu.Unlock()
		return nil
	}
	if d.idle == nil {
		d.idle = make(chan struct{})
	}
	idle := d.idle
	d.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("httpapi: %d requests are still in flight: %w", d.InFlight(), context.Cause(ctx))
	}
}
