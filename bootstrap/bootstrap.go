package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/bootstrap/discovery"
)

// Joiner carries out decisions. Package cluster implements it.
type Joiner interface {
	// Join joins a cluster through any of addrs and returns when this node is a
	// member. An error with a method Final() bool that returns true ends the
	// bootstrap.
	Join(ctx context.Context, addrs []string) error
	// Form forms a new cluster and returns when this node is its first member. It
	// returns an error that wraps ErrClaimed when another node was first.
	Form(ctx context.Context) error
}

// Bootstrap brings a node into a cluster.
type Bootstrap struct {
	conf   Config
	self   Self
	prober *prober
	reason atomic.Pointer[Decision]
}

// New validates the configuration.
func New(c Config) (*Bootstrap, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	host, portText, _ := net.SplitHostPort(c.Management) // checked by Validate
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: Config.Management: %w", err)
	}
	b := &Bootstrap{
		conf:   c,
		self:   Self{Node: c.Node, Cluster: c.Cluster, Host: host, Port: port},
		prober: newProber(c),
	}
	b.reason.Store(&Decision{Action: KeepProbing, Cause: NoDiscovery, Reason: "bootstrap has not started"})
	return b, nil
}

// Last returns the last decision, for health checks that want to say why a node
// is in no cluster yet.
func (b *Bootstrap) Last() Decision { return *b.reason.Load() }

// Run probes contact points until this node is a member, and returns nil then.
// It returns an error when joining was refused for good, or when ctx has ended;
// that one wraps the context's error and says why no cluster was found. It is
// to be called once.
func (b *Bootstrap) Run(ctx context.Context, joiner Joiner) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer b.prober.client.CloseIdleConnections()
	defer cancel()

	found := make(chan discovered)
	wg.Go(func() { b.discoverLoop(ctx, found) })

	r := round{b: b, joiner: joiner, answers: map[ContactPoint]Answer{}, failures: map[ContactPoint]string{}}
	next := time.NewTimer(b.conf.ProbeInterval)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return b.ended(ctx)
		case d := <-found:
			if r.discovered(d) {
				next.Reset(0)
			}
		case <-next.C:
			switch done, err := r.run(ctx); {
			case done:
				return nil
			case ctx.Err() != nil:
				return b.ended(ctx)
			case err != nil:
				return err
			}
			next.Reset(r.pause())
		}
	}
}

// ended says what the node was waiting for when ctx ended.
func (b *Bootstrap) ended(ctx context.Context) error {
	last := b.Last()
	return fmt.Errorf("bootstrap: ended before this node was in a cluster (%s: %s): %w", last.Cause, last.Reason, context.Cause(ctx))
}

// jittered varies an interval, so that nodes that start together do not probe
// in step.
func (b *Bootstrap) jittered(d time.Duration) time.Duration {
	j := max(b.conf.ProbeJitter, 0)
	return time.Duration(float64(d) * (1 + j*(2*rand.Float64()-1)))
}

// discovered is the outcome of one discovery.
type discovered struct {
	points []ContactPoint
	err    error
}

// discoverLoop asks the discovery until ctx ends, less often while it fails.
func (b *Bootstrap) discoverLoop(ctx context.Context, out chan<- discovered) {
	wait := b.conf.DiscoverInterval
	for {
		d := b.discover(ctx)
		if d.err != nil {
			wait = min(2*wait, b.conf.DiscoverBackoffMax)
		} else {
			wait = b.conf.DiscoverInterval
		}
		select {
		case out <- d:
		case <-ctx.Done():
			return
		}
		timer := time.NewTimer(b.jittered(wait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// discover asks the discovery once.
func (b *Bootstrap) discover(ctx context.Context) discovered {
	ctx, cancel := context.WithTimeout(ctx, b.conf.DiscoverTimeout)
	defer cancel()
	targets, err := b.conf.Discovery.Discover(ctx)
	if err != nil {
		return discovered{err: err}
	}
	points := make([]ContactPoint, 0, len(targets))
	for _, t := range targets {
		if err := t.Validate(); err != nil {
			b.conf.Logger.WarnContext(ctx, "contact point ignored", slog.Any("error", err))
			continue
		}
		points = append(points, pointOf(t, b.self.Port))
	}
	slices.SortFunc(points, CompareContactPoints)
	points = slices.Compact(points)
	if len(points) > b.conf.MaxPoints {
		b.conf.Logger.WarnContext(ctx, "contact points ignored", slog.Int("discovered", len(points)), slog.Int("max_points", b.conf.MaxPoints))
		points = points[:b.conf.MaxPoints]
	}
	return discovered{points: points}
}

func pointOf(t discovery.Target, defaultPort int) ContactPoint {
	p := ContactPoint{Host: t.Host, Port: t.Port, IP: t.IP.Unmap()}
	if p.Port == 0 {
		p.Port = defaultPort
	}
	return p
}

// attempt bounds one call of the joiner.
func (b *Bootstrap) attempt(ctx context.Context, d Decision, j Joiner) error {
	ctx, cancel := context.WithTimeout(ctx, b.conf.AttemptTimeout)
	defer cancel()
	var err error
	if d.Action == Form {
		err = j.Form(ctx)
	} else {
		err = j.Join(ctx, d.Addrs)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("not done within %v: %w", b.conf.AttemptTimeout, err)
	}
	return err
}
