package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5/middleware"
)

// ServerConfig configures a [Server].
type ServerConfig struct {
	// Name of the server in errors and logs, for example "management". Required.
	Name string
	// Addr is the host:port to listen at; port 0 takes a free one. Required.
	Addr string
	// Handler answers requests. Required.
	Handler http.Handler
	// Drain counts requests and connections. Defaults to one of its own.
	Drain *Drain
	// ReadHeaderTimeout bounds the time that a client may take to send the head of
	// a request. Defaults to 5 s.
	ReadHeaderTimeout time.Duration
	// ReadTimeout bounds the time for head and body. Defaults to 30 s.
	ReadTimeout time.Duration
	// WriteTimeout bounds the time from the end of the head to the end of the
	// answer; negative means none, for answers that stream. Defaults to 60 s.
	WriteTimeout time.Duration
	// IdleTimeout closes a kept connection without requests. It should be longer
	// than the load balancer's own, or that one sends into a closing connection.
	// Defaults to 6 min, more than the 350 s of an NLB.
	IdleTimeout time.Duration
	// MaxHeaderBytes bounds the head of a request. Defaults to 64 KiB.
	MaxHeaderBytes int
	// ShutdownTimeout bounds how long Run waits for requests after its context has
	// ended; connections are cut then. Defaults to 5 s.
	ShutdownTimeout time.Duration
	// Logger defaults to one that discards.
	Logger *slog.Logger
}

func (c ServerConfig) withDefaults() ServerConfig {
	c.ReadHeaderTimeout = cmp.Or(c.ReadHeaderTimeout, 5*time.Second)
	c.ReadTimeout = cmp.Or(c.ReadTimeout, 30*time.Second)
	c.WriteTimeout = max(cmp.Or(c.WriteTimeout, time.Minute), 0) // 0 is none for http.Server
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 6*time.Minute)
	c.MaxHeaderBytes = cmp.Or(c.MaxHeaderBytes, 64<<10)
	c.ShutdownTimeout = cmp.Or(c.ShutdownTimeout, 5*time.Second)
	if c.Drain == nil {
		c.Drain = &Drain{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c ServerConfig) validate() error {
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("httpapi: ServerConfig.Name is empty: name the server"))
	}
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		errs = append(errs, fmt.Errorf("httpapi: %s address %q is not host:port", c.Name, c.Addr))
	}
	if c.Handler == nil {
		errs = append(errs, fmt.Errorf("httpapi: ServerConfig.Handler of the %s server is nil", c.Name))
	}
	durations := []struct {
		field string
		value time.Duration
	}{
		{"ReadHeaderTimeout", c.ReadHeaderTimeout}, {"ReadTimeout", c.ReadTimeout}, {"IdleTimeout", c.IdleTimeout}, {"ShutdownTimeout", c.ShutdownTimeout},
	}
	for _, d := range durations {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("httpapi: ServerConfig.%s is %v: use a positive duration, or 0 for the default", d.field, d.value))
		}
	}
	if c.MaxHeaderBytes < 0 {
		errs = append(errs, fmt.Errorf("httpapi: ServerConfig.MaxHeaderBytes is %d: use a positive number, or 0 for the default", c.MaxHeaderBytes))
	}
	return errors.Join(errs...)
}

// Server is an HTTP server with bounds and an orderly end.
type Server struct {
	conf     ServerConfig
	listener net.Listener
	http     *http.Server
	health   *Health // of the management server, else nil
	unbind   sync.Once
	unbound  atomic.Bool
}

// Listen validates the configuration and binds the port, so that a port that is
// taken stops a node before it joins anything. Whoever does not call Run must
// call Unbind.
func Listen(ctx context.Context, c ServerConfig) (*Server, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("httpapi: %s server cannot listen at %s: stop what uses the port, or configure another address: %w", c.Name, c.Addr, err)
	}
	return &Server{
		conf:     c,
		listener: listener,
		http: &http.Server{
			Handler:           c.Drain.Middleware(recovered(c.Handler, c.Logger)),
			ConnState:         c.Drain.ConnState,
			ReadHeaderTimeout: c.ReadHeaderTimeout,
			ReadTimeout:       c.ReadTimeout,
			WriteTimeout:      c.WriteTimeout,
			IdleTimeout:       c.IdleTimeout,
			MaxHeaderBytes:    c.MaxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug), // clients that break off, mostly
		},
	}, nil
}

// Addr is the host:port that the server listens at.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Drain is the server's drain.
func (s *Server) Drain() *Drain { return s.conf.Drain }

// Unbind closes the listener: new connections are refused, those that exist are
// served. Unbinding again changes nothing.
func (s *Server) Unbind() {
	s.unbind.Do(func() {
		s.unbound.Store(true)
		_ = s.listener.Close() // it fails only when it is closed
	})
}

// Run serves until ctx ends, then refuses new connections, waits for requests in
// flight at most ShutdownTimeout, cuts what is left, and returns nil. It returns
// an error when serving fails before. It is to be called once.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { served <- s.http.Serve(s.listener) })
	defer serving.Wait()
	s.conf.Logger.InfoContext(ctx, "http server listens", slog.String("server", s.conf.Name), slog.String("addr", s.Addr()))

	err := s.until(ctx, served)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.conf.ShutdownTimeout)
	defer cancel()
	if stopErr := s.http.Shutdown(stop); stopErr != nil {
		s.conf.Logger.WarnContext(ctx, "http connections cut", slog.String("server", s.conf.Name), slog.Int("in_flight", s.conf.Drain.InFlight()), slog.Any("error", stopErr))
		_ = s.http.Close() // what it could report is that connections are gone
	}
	// handlers whose connection was cut see their context end, and get a moment
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancelLast()
	if waitErr := s.conf.Drain.WaitRequests(last); waitErr != nil {
		s.conf.Logger.WarnContext(ctx, "http handlers left behind", slog.String("server", s.conf.Name), slog.Any("error", waitErr))
	}
	if s.health != nil {
		s.health.wait(last)
	}
	return err
}

// until waits for the end of ctx, or for serving to fail.
func (s *Server) until(ctx context.Context, served <-chan error) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-served:
		if !s.unbound.Load() {
			return fmt.Errorf("httpapi: %s server at %s failed: %w", s.conf.Name, s.Addr(), err)
		}
	}
	<-ctx.Done() // unbound: go on serving the connections that exist
	return nil
}

// recovered answers a request whose handler panicked with a 500 and logs it.
func recovered(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wrapped := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		defer answerPanic(r.Context(), wrapped, r, log)
		next.ServeHTTP(wrapped, r)
	})
}

// answerPanic is to be deferred. net/http takes a panic with ErrAbortHandler as
// the request to cut a connection.
func answerPanic(ctx context.Context, w middleware.WrapResponseWriter, r *http.Request, log *slog.Logger) {
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		panic(p) //nolint:forbidigo // the handler wants the connection cut
	default:
		log.ErrorContext(ctx, "http handler panicked", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		if w.Status() != 0 {
			panic(http.ErrAbortHandler) //nolint:forbidigo // half an answer must not look like a whole one
		}
		WriteError(w, fmt.Errorf("panic: %v", p))
	}
}
