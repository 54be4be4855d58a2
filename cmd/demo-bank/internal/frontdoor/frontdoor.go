package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Target is a node that connections may be passed to.
type Target struct {
	// Name for logs and events. Required, unique.
	Name string
	// Addr is the host:port to dial. Required.
	Addr string
	// ReadyURL answers 200 while the target takes new connections. Required.
	ReadyURL string
}

// Config of a Door.
type Config struct {
	// Listener accepts the clients; Run closes it. Required.
	Listener net.Listener
	// Targets to pass connections to. At least one.
	Targets []Target
	// Interval between two checks of a target. Defaults to 200 ms.
	Interval time.Duration
	// CheckTimeout bounds one check. Defaults to 1 s.
	CheckTimeout time.Duration
	// HealthyAfter is the number of successful checks in a row after which a
	// target is ready. Defaults to 1.
	HealthyAfter int
	// UnhealthyAfter is the number of failed checks in a row after which it is
	// not. Defaults to 2.
	UnhealthyAfter int
	// DialTimeout bounds one dial of a target. Defaults to 1 s.
	DialTimeout time.Duration
	// IdleTimeout cuts a connection on which nothing passed for so long.
	// Defaults to 350 s.
	IdleTimeout time.Duration
	// MaxConns bounds the connections that pass at a time. Defaults to 4096.
	MaxConns int
	// Logger; defaults to one that discards.
	Logger *slog.Logger
	// Changed, if set, is called whenever a target turns ready or unready, from
	// the goroutine that checks this target. Reason is "" when ready.
	Changed func(t Target, ready bool, reason string)
}

func (c Config) withDefaults() Config {
	orDuration := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	orInt := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	orDuration(&c.Interval, 200*time.Millisecond)
	orDuration(&c.CheckTimeout, time.Second)
	orDuration(&c.DialTimeout, time.Second)
	orDuration(&c.IdleTimeout, 350*time.Second)
	orInt(&c.HealthyAfter, 1)
	orInt(&c.UnhealthyAfter, 2)
	orInt(&c.MaxConns, 4096)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports everything that is wrong with c, defaults applied.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	report := func(format string, args ...any) { errs = append(errs, fmt.Errorf("frontdoor: "+format, args...)) }
	if c.Listener == nil {
		report("Listener is required")
	}
	if len(c.Targets) == 0 {
		report("Targets is empty: name at least one")
	}
	names := map[string]bool{}
	for i, t := range c.Targets {
		if t.Name == "" || names[t.Name] {
			report("Targets[%d].Name %q must be set and unique", i, t.Name)
		}
		names[t.Name] = true
		if _, _, err := net.SplitHostPort(t.Addr); err != nil {
			report("Targets[%d].Addr %q must be host:port", i, t.Addr)
		}
		if u, err := url.Parse(t.ReadyURL); err != nil || u.Scheme != "http" || u.Host == "" {
			report("Targets[%d].ReadyURL %q must be an http URL", i, t.ReadyURL)
		}
	}
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"Interval", c.Interval},
		{"CheckTimeout", c.CheckTimeout},
		{"DialTimeout", c.DialTimeout},
		{"IdleTimeout", c.IdleTimeout},
	} {
		if d.d < 0 {
			report("%s is %v: it must be positive", d.name, d.d)
		}
	}
	for _, n := range []struct {
		name string
		n    int
	}{
		{"HealthyAfter", c.HealthyAfter},
		{"UnhealthyAfter", c.UnhealthyAfter},
		{"MaxConns", c.MaxConns},
	} {
		if n.n < 0 {
			report("%s is %d: it must be positive", n.name, n.n)
		}
	}
	return errors.Join(errs...)
}

// Door accepts connections and passes them to ready targets.
type Door struct {
	cfg     Config
	client  *http.Client
	targets []*target
	next    atomic.Uint64
	// allReady is closed when all targets are ready at once for the first time.
	allReady chan struct{}
	readyMu  sync.Mutex
	numReady int
}

// target is a Target and what the checks found out about it.
type target struct {
	Target
	ready atomic.Bool
	// reason of the last failed check, "" when there was none.
	reason atomic.Pointer[string]
}

// New returns a Door that does nothing until Run.
func New(cfg Config) (*Door, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	d := &Door{
		cfg:      cfg,
		allReady: make(chan struct{}),
		client: &http.Client{
			Timeout: cfg.CheckTimeout,
			// A load balancer opens a connection for each check; so a target
			// that does not accept any more is seen as such.
			Transport:     &http.Transport{DisableKeepAlives: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	for _, t := range cfg.Targets {
		d.targets = append(d.targets, &target{Target: t})
	}
	return d, nil
}

// AllReady is closed when all targets have been ready at the same time once.
func (d *Door) AllReady() <-chan struct{} { return d.allReady }

// Waiting returns the names of the targets that are not ready, with the reason.
func (d *Door) Waiting() map[string]string {
	waiting := map[string]string{}
	for _, t := range d.targets {
		if !t.ready.Load() {
			waiting[t.Name] = "not checked yet"
			if r := t.reason.Load(); r != nil {
				waiting[t.Name] = *r
			}
		}
	}
	return waiting
}

// pick returns the ready targets, beginning with the one whose turn it is.
func (d *Door) pick() []*target {
	ready := make([]*target, 0, len(d.targets))
	for _, t := range d.targets {
		if t.ready.Load() {
			ready = append(ready, t)
		}
	}
	if len(ready) == 0 {
		return nil
	}
	turn := int((d.next.Add(1) - 1) % uint64(len(ready)))
	return append(ready[turn:len(ready):len(ready)], ready[:turn]...)
}

// Run serves until ctx ends, then cuts the connections that are left. It
// returns after its last goroutine has ended: nil, or why it cannot accept.
func (d *Door) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	wg.Go(func() {
		<-ctx.Done()
		if err := d.cfg.Listener.Close(); err != nil {
			d.cfg.Logger.DebugContext(ctx, "closing the listener failed", slog.Any("err", err))
		}
	})
	for _, t := range d.targets {
		wg.Go(func() { d.watch(ctx, t) })
	}
	slots := make(chan struct{}, d.cfg.MaxConns)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := d.cfg.Listener.Accept()
		if err != nil {
			<-slots
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("frontdoor: accept: %w", err)
			}
			// Out of file descriptors, or a client that went away: neither is
			// for ever.
			d.cfg.Logger.WarnContext(ctx, "accepting a connection failed", slog.Any("err", err))
			if !sleep(ctx, 10*time.Millisecond) {
				return nil
			}
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			d.serve(ctx, conn)
		})
	}
}

// sleep waits for dur and reports whether ctx is still alive.
func sleep(ctx context.Context, dur time.Duration) bool {
	timer := time.NewTimer(dur)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
