package bootstrap

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/bootstrap/discovery"
	"github.com/holdfast-go/holdfast/cluster/member"
)

// Config of a [Bootstrap].
type Config struct {
	// Node has the id of this process and the host:port of its cluster listener.
	// Required.
	Node member.Node
	// Cluster is the name of the cluster to be in. Contact points of another
	// cluster are ignored. Required.
	Cluster string
	// Management is the host:port at which other nodes reach the management
	// server of this node, which must be serving [SeedNodesHandler] already. Its
	// port stands in where discovery does not know one. Required.
	Management string
	// Discovery finds the contact points. Required.
	Discovery discovery.Discovery
	// Settings of the decision.
	Settings Settings

	// DiscoverInterval is the time between two discoveries. Defaults to 1 s.
	DiscoverInterval time.Duration
	// DiscoverTimeout bounds one discovery. Defaults to 3 s.
	DiscoverTimeout time.Duration
	// DiscoverBackoffMax bounds the time between discoveries while they fail; it
	// doubles from DiscoverInterval. Defaults to 15 s.
	DiscoverBackoffMax time.Duration
	// MaxPoints bounds the contact points that are probed, the lowest addresses
	// first. Defaults to 128.
	MaxPoints int

	// ProbeInterval is the time between two rounds of probes, each followed by a
	// decision. Defaults to 1 s.
	ProbeInterval time.Duration
	// ProbeJitter is the share of the interval by which it is varied at random, in
	// 0..1. Defaults to 0.2; negative means none.
	ProbeJitter float64
	// ProbeTimeout bounds one probe. Defaults to 1 s.
	ProbeTimeout time.Duration
	// ProbeParallel bounds the probes at a time. Defaults to 64.
	ProbeParallel int
	// Transport carries the probes. Defaults to one without proxies, with bounds
	// and timeouts.
	Transport http.RoundTripper
	// Scheme of the probes, "http" or "https". Defaults to "http".
	Scheme string

	// AttemptTimeout bounds one attempt to join or to form. Defaults to 15 s.
	AttemptTimeout time.Duration
	// RemindInterval is how often an unchanged reason for not being in a cluster
	// is logged again. Defaults to 30 s.
	RemindInterval time.Duration
	// Logger defaults to one that discards.
	Logger *slog.Logger
}

// WithDefaults returns the configuration with zero fields replaced by their
// defaults.
func (c Config) WithDefaults() Config {
	c.Settings = c.Settings.WithDefaults()
	c.DiscoverInterval = cmp.Or(c.DiscoverInterval, time.Second)
	c.DiscoverTimeout = cmp.Or(c.DiscoverTimeout, 3*time.Second)
	c.DiscoverBackoffMax = cmp.Or(c.DiscoverBackoffMax, 15*time.Second)
	c.MaxPoints = cmp.Or(c.MaxPoints, 128)
	c.ProbeInterval = cmp.Or(c.ProbeInterval, time.Second)
	c.ProbeJitter = cmp.Or(c.ProbeJitter, 0.2)
	c.ProbeTimeout = cmp.Or(c.ProbeTimeout, time.Second)
	c.ProbeParallel = cmp.Or(c.ProbeParallel, 64)
	c.Scheme = cmp.Or(c.Scheme, "http")
	c.AttemptTimeout = cmp.Or(c.AttemptTimeout, 15*time.Second)
	c.RemindInterval = cmp.Or(c.RemindInterval, 30*time.Second)
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports all problems of the configuration at once. It is to be
// called after WithDefaults.
func (c Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("bootstrap: Config.%s %s", field, fmt.Sprintf(format, args...)))
	}
	if c.Node.ID == "" {
		bad("Node.ID", "is empty: give it the id of this process")
	}
	if err := checkAddr(c.Node.Addr); err != nil {
		bad("Node.Addr", "%v", err)
	}
	if c.Cluster == "" || len(c.Cluster) > 256 {
		bad("Cluster", "has %d bytes: give it the name of the cluster, 1..256 bytes", len(c.Cluster))
	}
	if err := checkAddr(c.Management); err != nil {
		bad("Management", "%v", err)
	}
	if c.Management == c.Node.Addr {
		bad("Management", "is %q, the same as Node.Addr: the management server needs a port of its own", c.Management)
	}
	if c.Discovery == nil {
		bad("Discovery", "is nil: give it one, for example of package static")
	}
	durations := []struct {
		field string
		value time.Duration
	}{
		{"Settings.StableMargin", c.Settings.StableMargin},
		{"Settings.AnswerTTL", c.Settings.AnswerTTL},
		{"DiscoverInterval", c.DiscoverInterval},
		{"DiscoverTimeout", c.DiscoverTimeout},
		{"DiscoverBackoffMax", c.DiscoverBackoffMax},
		{"ProbeInterval", c.ProbeInterval},
		{"ProbeTimeout", c.ProbeTimeout},
		{"AttemptTimeout", c.AttemptTimeout},
		{"RemindInterval", c.RemindInterval},
	}
	for _, d := range durations {
		if d.value <= 0 {
			bad(d.field, "is %v: use a positive duration, or 0 for the default", d.value)
		}
	}
	if c.Settings.RequiredContactPoints < 1 {
		bad("Settings.RequiredContactPoints", "is %d: use the number of nodes of the first start, at least 1", c.Settings.RequiredContactPoints)
	}
	if c.DiscoverBackoffMax < c.DiscoverInterval {
		bad("DiscoverBackoffMax", "is %v, less than DiscoverInterval of %v", c.DiscoverBackoffMax, c.DiscoverInterval)
	}
	// an answer must outlive the wait for the next one, or a decision could never
	// see the answers of all nodes
	if longest := time.Duration(float64(c.ProbeInterval)*(1+max(c.ProbeJitter, 0))) + c.ProbeTimeout; c.Settings.AnswerTTL < longest {
		bad("Settings.AnswerTTL", "is %v: it must be at least ProbeInterval with jitter plus ProbeTimeout, %v", c.Settings.AnswerTTL, longest)
	}
	if c.ProbeParallel > 0 {
		turns := (c.MaxPoints + c.ProbeParallel - 1) / c.ProbeParallel
		if longest := time.Duration(turns) * c.ProbeTimeout; c.Settings.AnswerTTL < longest {
			bad("Settings.AnswerTTL", "is %v: one round of %d probes, %d at a time, takes up to %v", c.Settings.AnswerTTL, c.MaxPoints, c.ProbeParallel, longest)
		}
	}
	if c.ProbeJitter > 1 {
		bad("ProbeJitter", "is %v: use at most 1", c.ProbeJitter)
	}
	if c.ProbeParallel < 1 {
		bad("ProbeParallel", "is %d: use a positive number, or 0 for the default", c.ProbeParallel)
	}
	if c.MaxPoints < 1 {
		bad("MaxPoints", "is %d: use a positive number, or 0 for the default", c.MaxPoints)
	}
	if c.Scheme != "http" && c.Scheme != "https" {
		bad("Scheme", "is %q: use http or https", c.Scheme)
	}
	return errors.Join(errs...)
}
