package main

import (
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/bootstrap/discovery/static"
	"github.com/holdfast-go/holdfast/coordinatedshutdown"
)

// inMemory as the journal means that a single node keeps its state in memory.
const inMemory = "memory"

type serveCmd struct {
	APIAddr        string `default:"0.0.0.0:9001" env:"HOLDFAST_API_ADDR" help:"Where the bank's API listens."`
	ManagementAddr string `default:"0.0.0.0:9002" env:"HOLDFAST_MANAGEMENT_ADDR" help:"Where health, members and shards are served."`
	ClusterAddr    string `default:"0.0.0.0:25520" env:"HOLDFAST_CLUSTER_ADDR" help:"Where other nodes connect."`
	Advertise      string `env:"HOLDFAST_ADVERTISE" help:"IP address at which other nodes reach this one. Default: the first IPv4 address that is not loopback, else 127.0.0.1."`

	Cluster string `default:"demo-bank" env:"HOLDFAST_CLUSTER" help:"Name of the cluster."`
	Data    string `default:"holdfast-data" type:"path" env:"HOLDFAST_DATA" help:"Directory of the journal. It is created."`
	Journal string `env:"HOLDFAST_JOURNAL" help:"File of the journal, or 'memory'. Default: bank.sqlite in the data directory."`

	ContactPoints         []string      `env:"HOLDFAST_CONTACT_POINTS" help:"host:port of the management of all nodes. Default: this node alone."`
	RequiredContactPoints int           `env:"HOLDFAST_REQUIRED_CONTACT_POINTS" help:"Contact points that must answer before a new cluster is formed. Default: all of them."`
	StableMargin          time.Duration `default:"2s" env:"HOLDFAST_STABLE_MARGIN" help:"How long the contact points must stay the same before a new cluster is formed."`
	NewClusterEnabled     bool          `default:"true" negatable:"" env:"HOLDFAST_NEW_CLUSTER_ENABLED" help:"Allow forming a new cluster."`

	Tenants    []string `default:"tenant-a,tenant-b" env:"HOLDFAST_TENANTS" help:"Values of X-Tenant-Id that are served."`
	Zone       string   `env:"HOLDFAST_ZONE" help:"Failure domain of this node."`
	Roles      []string `env:"HOLDFAST_ROLES" help:"Roles of this node."`
	AppVersion string   `default:"0.0.0" env:"HOLDFAST_APP_VERSION" help:"Version of the deployment; newer ones are preferred as owners."`
	Profile    string   `default:"default" enum:"default,fast" env:"HOLDFAST_PROFILE" help:"Timing: 'fast' fails over sooner and wants a CPU of its own (${enum})."`

	ShutdownDeadline time.Duration `default:"110s" env:"HOLDFAST_SHUTDOWN_DEADLINE" help:"Time for the whole shutdown."`
	DrainIdle        time.Duration `default:"10s" env:"HOLDFAST_DRAIN_IDLE" help:"Shutdown waits until no new connection has come for so long."`

	LogLevel  slog.Level `default:"info" env:"HOLDFAST_LOG_LEVEL" help:"debug, info, warn or error."`
	LogFormat string     `default:"json" enum:"json,text" env:"HOLDFAST_LOG_FORMAT" help:"${enum}."`
}

// withDefaults fills in what depends on the machine or on other fields.
func (c serveCmd) withDefaults() serveCmd {
	if c.Advertise == "" {
		c.Advertise = ownAddress()
	}
	if c.Journal == "" {
		c.Journal = filepath.Join(c.Data, "bank.sqlite")
	}
	if len(c.ContactPoints) == 0 {
		c.ContactPoints = []string{c.advertised(c.ManagementAddr)}
	}
	if c.RequiredContactPoints == 0 {
		c.RequiredContactPoints = len(c.ContactPoints)
	}
	return c
}

// advertised returns the address at which other nodes reach a listener.
func (c serveCmd) advertised(listen string) string {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen // validate reports it
	}
	return net.JoinHostPort(c.Advertise, port)
}

// validate reports everything that is wrong with c, defaults applied.
func (c serveCmd) validate() error {
	var errs []error
	report := func(format string, args ...any) { errs = append(errs, usagef(format, args...)) }

	ports := map[string]string{}
	for _, a := range []struct{ flag, addr string }{
		{"--api-addr", c.APIAddr},
		{"--management-addr", c.ManagementAddr},
		{"--cluster-addr", c.ClusterAddr},
	} {
		_, port, err := net.SplitHostPort(a.addr)
		if n, bad := strconv.Atoi(port); err != nil || bad != nil || n < 1 || n > 65535 {
			report("%s %q must be host:port, with a port from 1 to 65535", a.flag, a.addr)
			continue
		}
		if other, taken := ports[port]; taken {
			report("%s and %s have the same port %s: give each its own", other, a.flag, port)
		}
		ports[port] = a.flag
	}
	management, _, _ := net.SplitHostPort(c.ManagementAddr)
	between, _, _ := net.SplitHostPort(c.ClusterAddr)
	if management != between {
		report("--management-addr and --cluster-addr listen on different hosts, %q and %q: they share one", management, between)
	}
	if ip := net.ParseIP(c.Advertise); ip == nil || ip.IsUnspecified() {
		report("--advertise %q must be an IP address at which other nodes reach this one", c.Advertise)
	}
	if c.Cluster == "" {
		report("--cluster is empty: name the cluster")
	}
	if _, err := static.Parse(c.ContactPoints...); err != nil {
		report("--contact-points: %v", err)
	}
	if n := len(c.ContactPoints); c.RequiredContactPoints < 1 || c.RequiredContactPoints > n {
		report("--required-contact-points is %d: it must be 1 to %d, the number of --contact-points", c.RequiredContactPoints, n)
	}
	if c.Journal == inMemory && len(c.ContactPoints) > 1 {
		report("--journal memory serves one node only, but --contact-points names %d: give all nodes the same file", len(c.ContactPoints))
	}
	if !c.NewClusterEnabled && len(c.ContactPoints) == 1 && c.ContactPoints[0] == c.advertised(c.ManagementAddr) {
		report("--no-new-cluster-enabled with no contact point but this node itself: there is nothing to join; name others in --contact-points")
	}
	if c.StableMargin < 0 {
		report("--stable-margin is %v: it must not be negative", c.StableMargin)
	}
	if len(c.Tenants) == 0 {
		report("--tenants is empty: name at least one")
	}
	for _, t := range c.Tenants {
		if t == "" || strings.ContainsAny(t, "/ \t") {
			report("--tenants: %q must not be empty, nor contain a slash or a space", t)
		}
	}
	if c.ShutdownDeadline <= 0 {
		report("--shutdown-deadline is %v: it must be positive", c.ShutdownDeadline)
	}
	for _, p := range scaledPhases(c.ShutdownDeadline) {
		if p.Name == coordinatedshutdown.BeforeServiceUnbind && (c.DrainIdle < 0 || c.DrainIdle >= p.Timeout) {
			report("--drain-idle is %v: it must be 0 to less than %v, the part of --shutdown-deadline that is for draining", c.DrainIdle, p.Timeout)
		}
	}
	return errors.Join(errs...)
}

// ownAddress returns the first IPv4 address of this machine that is not
// loopback, else 127.0.0.1.
func ownAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return loopback
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && ip.IP.IsGlobalUnicast() {
			return ip.IP.String()
		}
	}
	return loopback
}
