package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/holdfast-go/holdfast/cmd/demo-bank/internal/frontdoor"
	"github.com/holdfast-go/holdfast/cmd/demo-bank/internal/supervisor"
)

const (
	loopback = "127.0.0.1"
	// maxDevNodes keeps the ports of the nodes within 1000 above the base port.
	maxDevNodes = 9
	maxBasePort = 65535 - 100*maxDevNodes - 20
	// devLabelWidth is that of the longest name before a line of output.
	devLabelWidth = len("front-door")
)

type devCmd struct {
	Nodes     int    `default:"3" help:"Number of nodes, 1 to 9."`
	Data      string `default:"holdfast-data" type:"path" help:"Directory for the journal; what it holds survives a restart."`
	BasePort  int    `default:"9000" help:"Port of the front door. Node i listens on +100i+1 (API), +100i+2 (management) and +100i+20 (cluster)."`
	NoReplace bool   `help:"Leave a node that died dead."`
}

// devNode is where a node of dev listens.
type devNode struct {
	name                     string
	api, management, cluster string
}

// Run implements the command.
func (c *devCmd) Run(e *environment) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program to start it as nodes: %w", err)
	}
	return c.run(e, exe)
}

func (c *devCmd) run(e *environment, exe string) error {
	if err := c.validate(); err != nil {
		return err
	}
	unlock, err := c.openData()
	if err != nil {
		return err
	}
	defer unlock()
	nodes := c.nodes()
	listener, err := c.claimPorts(e.ctx, nodes)
	if err != nil {
		return err
	}
	d := &dev{cmd: c, nodes: nodes, out: supervisor.NewOutput(e.stdout, devLabelWidth), pids: map[string]int{}}
	return d.run(e, exe, listener)
}

func (c *devCmd) validate() error {
	var errs []error
	if c.Nodes < 1 || c.Nodes > maxDevNodes {
		errs = append(errs, usagef("--nodes is %d: it must be 1 to %d", c.Nodes, maxDevNodes))
	}
	if c.BasePort < 1 || c.BasePort > maxBasePort {
		errs = append(errs, usagef("--base-port is %d: it must be 1 to %d", c.BasePort, maxBasePort))
	}
	return errors.Join(errs...)
}

// openData makes sure of the data directory: that it is there, that it can be
// written to, and that no other dev uses it.
func (c *devCmd) openData() (unlock func(), err error) {
	if err := os.MkdirAll(c.Data, 0o750); err != nil {
		return nil, fmt.Errorf("cannot create the data directory: %w: choose another one with --data", err)
	}
	lock := flock.New(filepath.Join(c.Data, "dev.lock"))
	locked, err := lock.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot write to the data directory: %w: choose another one with --data", err)
	case !locked:
		return nil, fmt.Errorf("the data directory %s is in use by another demo-bank dev: stop that, or choose another one with --data", c.Data)
	}
	return func() { _ = lock.Unlock() }, nil // the process ends anyway
}

func (c *devCmd) nodes() []devNode {
	var nodes []devNode
	for i := 1; i <= c.Nodes; i++ {
		addr := func(offset int) string { return net.JoinHostPort(loopback, strconv.Itoa(c.BasePort+100*i+offset)) }
		nodes = append(nodes, devNode{name: fmt.Sprintf("node-%d", i), api: addr(1), management: addr(2), cluster: addr(20)})
	}
	return nodes
}

// claimPorts listens for the front door and makes sure that the ports of the
// nodes are free, so that one clear error comes before any process starts.
func (c *devCmd) claimPorts(ctx context.Context, nodes []devNode) (net.Listener, error) {
	var lc net.ListenConfig
	listen := func(addr, what string) (net.Listener, error) {
		l, err := lc.Listen(ctx, "tcp", addr)
		_, port, _ := net.SplitHostPort(addr)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("port %s, for %s, is taken: stop what listens there, or choose other ports with --base-port", port, what)
		case err != nil:
			return nil, fmt.Errorf("port %s, for %s: %w: choose other ports with --base-port", port, what, err)
		}
		return l, nil
	}
	door, err := listen(net.JoinHostPort(loopback, strconv.Itoa(c.BasePort)), "the front door")
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		for _, p := range []struct{ addr, what string }{
			{n.api, "the API of " + n.name},
			{n.management, "the management of " + n.name},
			{n.cluster, "the cluster listener of " + n.name},
		} {
			l, err := listen(p.addr, p.what)
			if err == nil {
				err = l.Close()
			}
			if err != nil {
				return nil, errors.Join(err, door.Close())
			}
		}
	}
	return door, nil
}

// serveArgs returns the command line of node i.
func (c *devCmd) serveArgs(i int, nodes []devNode) []string {
	var points []string
	for _, n := range nodes {
		points = append(points, n.management)
	}
	n := nodes[i]
	return []string{
		"serve",
		"--api-addr=" + n.api,
		"--management-addr=" + n.management,
		"--cluster-addr=" + n.cluster,
		"--advertise=" + loopback,
		"--data=" + c.Data,
		"--contact-points=" + strings.Join(points, ","),
		"--required-contact-points=" + strconv.Itoa(len(nodes)),
		"--zone=zone-" + string(rune('a'+i%3)),
		"--stable-margin=1s",
		"--drain-idle=1s", // the front door reacts at once
		"--log-format=text",
	}
}

// dev is a running dev command.
type dev struct {
	cmd   *devCmd
	nodes []devNode
	out   *supervisor.Output

	mu   sync.Mutex
	pids map[string]int
}

func (d *dev) logger(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(d.out.Writer(name), &slog.HandlerOptions{ReplaceAttr: shortTime}))
}

// shortTime drops the date: dev's log is read while it is written.
func shortTime(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 {
		a.Value = slog.StringValue(a.Value.Time().Format("15:04:05.000"))
	}
	return a
}

func (d *dev) run(e *environment, exe string, listener net.Listener) error {
	var targets []frontdoor.Target
	var children []supervisor.Node
	for i, n := range d.nodes {
		targets = append(targets, frontdoor.Target{Name: n.name, Addr: n.api, ReadyURL: "http://" + n.management + "/ready"})
		children = append(children, supervisor.Node{Name: n.name, Path: exe, Args: d.cmd.serveArgs(i, d.nodes)})
	}
	door, err := frontdoor.New(frontdoor.Config{Listener: listener, Targets: targets, Logger: d.logger("front-door")})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	cfg := supervisor.Config{
		Nodes: children, Output: d.out, Logger: d.logger("dev"),
		Started: func(name string, pid int) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.pids[name] = pid
		},
	}
	if d.cmd.NoReplace {
		cfg.ReplaceAfter = -1
	}
	nodes, err := supervisor.New(cfg)
	if err != nil {
		return errors.Join(err, listener.Close())
	}

	// The front door outlives the nodes, which go on serving while they stop.
	doorCtx, closeDoor := context.WithCancel(context.WithoutCancel(e.ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := door.Run(doorCtx); err != nil {
			d.logger("front-door").ErrorContext(doorCtx, "front door failed", slog.Any("err", err))
		}
	})
	wg.Go(func() { d.announce(doorCtx, door) })
	wg.Go(func() {
		select {
		case <-e.kill:
			nodes.Kill()
		case <-doorCtx.Done():
		}
	})
	err = nodes.Run(e.ctx)
	closeDoor()
	wg.Wait()
	return err
}

// announce prints what there is once all nodes are ready; until then it says
// from time to time what is missing.
func (d *dev) announce(ctx context.Context, door *frontdoor.Door) {
	remind := time.NewTicker(10 * time.Second)
	defer remind.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-door.AllReady():
			d.out.Raw(d.banner())
			return
		case <-remind.C:
			waiting := door.Waiting()
			var names []string
			for name := range waiting {
				names = append(names, name)
			}
			slices.Sort(names)
			for _, name := range names {
				d.logger("dev").InfoContext(ctx, "waiting for a node", slog.String("node", name), slog.String("reason", waiting[name]))
			}
		}
	}
}

func (d *dev) banner() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var b strings.Builder
	front := "http://" + net.JoinHostPort(loopback, strconv.Itoa(d.cmd.BasePort))
	printf := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	printf("\n%-8s %-8s %-23s %-23s %s\n", "", "pid", "api", "management", "cluster")
	for _, n := range d.nodes {
		printf("%-8s %-8d %-23s %-23s %s\n", n.name, d.pids[n.name], "http://"+n.api, "http://"+n.management, n.cluster)
	}
	printf("\nAll ready. The front door, %s, passes connections to ready nodes. Data: %s\nTry:\n\n", front, d.cmd.Data)
	printf("  curl -s -H 'X-Tenant-Id: tenant-a' -H 'Idempotency-Key: first' --json '{\"amount\": 100}' %s/accounts/42/deposit\n", front)
	printf("  curl -s -H 'X-Tenant-Id: tenant-a' %s/accounts/42\n", front)
	printf("  curl -s http://%s/cluster/members\n", d.nodes[0].management)
	printf("  kill -9 %d\n\n", d.pids[d.nodes[len(d.nodes)-1].name])
	printf("Ctrl-C stops all nodes; a second one kills them.\n\n")
	return b.String()
}
