package holdfast

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/bootstrap"
	"github.com/holdfast-go/holdfast/bootstrap/discovery"
	"github.com/holdfast-go/holdfast/cluster"
	"github.com/holdfast-go/holdfast/coordinatedshutdown"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/sharding"
)

// Config of a node. The zero value of a field means its default.
type Config struct {
	// Cluster is the name that all nodes of a cluster share. Required.
	Cluster string
	// Entities are the types that this node hosts and calls. All nodes of a
	// cluster must have the same ones.
	Entities []sharding.Entity
	// Journal keeps the state of durable entities, and the claim that only one
	// generation of the cluster exists. The caller opens it before Start and
	// closes it after the node has stopped. Required when an entity is durable.
	Journal journal.Journal

	// Host is the IP address at which other nodes reach this one. Defaults to the
	// first address of an interface that is up and not loopback, else 127.0.0.1.
	Host string
	// BindHost is the address to listen at. Defaults to Host.
	BindHost string
	// ClusterPort carries everything between nodes. Defaults to 25520; negative
	// means any free port.
	ClusterPort int
	// ManagementPort serves health, members and shards. Defaults to 9002; negative
	// means any free port.
	ManagementPort int
	// HTTP is the application's own server, bound when the node is up and drained
	// when it stops. Optional.
	HTTP *HTTP
	// TLS secures the cluster port when one of its fields is set.
	TLS remote.TLS

	// Zone is the failure domain, for the spread of voters.
	Zone string
	// Roles the node carries.
	Roles []string
	// AppVersion orders deployments.
	AppVersion string

	// Discovery finds other nodes by their management addresses. Defaults to this
	// node alone.
	Discovery discovery.Discovery
	// Bootstrap says when a new cluster is formed.
	Bootstrap bootstrap.Settings
	// ProbeInterval is the time between two rounds of probes of the other nodes
	// while there is no cluster yet. Defaults to 1 s.
	ProbeInterval time.Duration
	// Timing of membership. Defaults to cluster.DefaultTiming.
	Timing cluster.Timing
	// Handoff bounds the steps of moving a shard.
	Handoff Handoff
	// DrainIdle is how long no new connection may have come before the
	// application's port closes. Defaults to 10 s.
	DrainIdle time.Duration
	// Shutdown is the deadline of the whole shutdown and the phases' own. Its
	// Logger is not used.
	Shutdown coordinatedshutdown.Config
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// HTTP is an application's server.
type HTTP struct {
	// Addr is the host:port to listen at. Required.
	Addr string
	// Handler makes the handler for a node. It is called once, when the node is up.
	// Required.
	Handler func(n *Node) http.Handler
}

// Handoff bounds the steps of moving a shard. Zero means the defaults of
// sharding.Config.
type Handoff struct {
	Barrier, Drain time.Duration
}

// Defaults of [Config].
const (
	DefaultClusterPort    = 25520
	DefaultManagementPort = 9002
	DefaultDrainIdle      = 10 * time.Second
)

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Host == "" {
		c.Host = ownHost()
	}
	c.BindHost = cmp.Or(c.BindHost, c.Host)
	c.ClusterPort = port(c.ClusterPort, DefaultClusterPort)
	c.ManagementPort = port(c.ManagementPort, DefaultManagementPort)
	c.Timing = c.Timing.WithDefaults()
	c.DrainIdle = cmp.Or(c.DrainIdle, DefaultDrainIdle)
	if c.Discovery == nil {
		c.Bootstrap.RequiredContactPoints = cmp.Or(c.Bootstrap.RequiredContactPoints, 1)
		c.Bootstrap.StableMargin = cmp.Or(c.Bootstrap.StableMargin, time.Millisecond)
	}
	c.Shutdown.Logger = c.Logger
	return c
}

func port(p, def int) int {
	switch {
	case p == 0:
		return def
	case p < 0:
		return 0
	}
	return p
}

// Validate reports every problem of the configuration at once. Start calls it.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("holdfast: "+format, args...)) }
	if c.Cluster == "" {
		bad("Cluster is empty: name the cluster, the same on all nodes")
	}
	if net.ParseIP(c.Host) == nil {
		bad("Host is %q: give the IP address at which other nodes reach this one", c.Host)
	}
	if ip := net.ParseIP(c.Host); ip != nil && ip.IsUnspecified() {
		bad("Host is %s: other nodes cannot reach that; give this node's own address and set BindHost instead", c.Host)
	}
	for _, p := range []struct {
		name string
		port int
	}{{"ClusterPort", c.ClusterPort}, {"ManagementPort", c.ManagementPort}} {
		if p.port > 65535 {
			bad("%s is %d: ports end at 65535", p.name, p.port)
		}
	}
	if c.ClusterPort != 0 && c.ClusterPort == c.ManagementPort {
		bad("ClusterPort and ManagementPort are both %d", c.ClusterPort)
	}
	if c.HTTP != nil {
		if _, p, err := net.SplitHostPort(c.HTTP.Addr); err != nil {
			bad("HTTP.Addr is %q: give host:port", c.HTTP.Addr)
		} else if n, err := strconv.Atoi(p); err == nil && n != 0 && (n == c.ClusterPort || n == c.ManagementPort) {
			bad("HTTP.Addr %q uses the port of the cluster or of management", c.HTTP.Addr)
		}
		if c.HTTP.Handler == nil {
			bad("HTTP.Handler is missing")
		}
	}
	if c.DrainIdle < 0 {
		bad("DrainIdle is %v: it must not be negative", c.DrainIdle)
	}
	seen := map[string]bool{}
	for i, e := range c.Entities {
		if e == nil || e.Definition() == nil {
			bad("Entities[%d] is nil", i)
			continue
		}
		name := e.Definition().Name
		if seen[name] {
			bad("Entities[%d]: type %q is there twice", i, name)
		}
		seen[name] = true
	}
	errs = append(errs, c.Timing.Validate(), c.Shutdown.Validate())
	return errors.Join(errs...)
}

// ownHost is the first address of an interface that is up and not loopback.
func ownHost() string {
	addrs, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() && n.IP.To4() != nil {
				return n.IP.String()
			}
		}
	}
	return "127.0.0.1"
}
