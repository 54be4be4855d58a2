package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/bootstrap"
	"github.com/holdfast-go/holdfast/bootstrap/discovery/static"
	"github.com/holdfast-go/holdfast/cluster"
	"github.com/holdfast-go/holdfast/cmd/demo-bank/internal/api"
	"github.com/holdfast-go/holdfast/cmd/demo-bank/internal/bank"
	"github.com/holdfast-go/holdfast/coordinatedshutdown"
	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/persistence/journal/sqlite"
	"github.com/holdfast-go/holdfast/sharding"
)

// storeTimeout bounds opening the journal, which retries while it is locked.
const storeTimeout = 30 * time.Second

// codeError is a failure with an exit code of its own.
type codeError struct {
	code int
	err  error
}

func (e *codeError) Error() string { return e.err.Error() }

func (e *codeError) Unwrap() error { return e.err }

// Run implements the command: a node until the program is told to stop, or the
// node's membership ends.
func (c *serveCmd) Run(e *environment) error {
	cfg := c.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	logger := cfg.logger(e)
	slog.SetDefault(logger)

	store, err := cfg.openJournal(e.ctx, logger)
	if err != nil {
		return &codeError{coordinatedshutdown.StoreLost.ExitCode(), err}
	}
	err = cfg.serve(e, logger, store)
	return errors.Join(err, store.Close())
}

func (c serveCmd) logger(e *environment) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "text" {
		opts.ReplaceAttr = shortTime
		return slog.New(slog.NewTextHandler(e.stdout, opts))
	}
	return slog.New(slog.NewJSONHandler(e.stdout, opts))
}

// openJournal opens the store; while that is locked or out of reach it tries
// again until storeTimeout.
func (c serveCmd) openJournal(ctx context.Context, logger *slog.Logger) (journal.Journal, error) {
	if c.Journal == inMemory {
		return memory.New(), nil
	}
	if err := os.MkdirAll(filepath.Dir(c.Journal), 0o750); err != nil {
		return nil, fmt.Errorf("cannot create the directory of the journal: %w: choose another one with --data or --journal", err)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for {
		store, err := sqlite.Open(ctx, sqlite.Config{Path: c.Journal, Logger: logger})
		if err == nil {
			return store, nil
		}
		if !errors.Is(err, journal.ErrUnavailable) {
			return nil, fmt.Errorf("opening the journal %s: %w", c.Journal, err)
		}
		logger.WarnContext(ctx, "journal is not available yet", slog.String("path", c.Journal), slog.Any("err", err))
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, fmt.Errorf("opening the journal %s: %w", c.Journal, err)
		}
	}
}

// serve runs the node until it has stopped.
func (c serveCmd) serve(e *environment, logger *slog.Logger, store journal.Journal) error {
	accounts := bank.NewAccounts()
	cfg, err := c.nodeConfig(logger, store, accounts)
	if err != nil {
		return err
	}
	node, err := holdfast.Start(e.ctx, cfg)
	if e.ctx.Err() != nil && node == nil {
		logger.Info("told to stop before the node was up", slog.Any("err", err))
		return nil
	}
	if start, ok := errors.AsType[*holdfast.StartError](err); ok {
		if start.Step == "configuration" {
			return usagef("%v", err)
		}
		return &codeError{start.Reason.ExitCode(), err}
	}
	if err != nil {
		return err
	}
	select {
	case <-e.ctx.Done():
		return c.stop(e, node)
	case <-node.Done():
		if code := node.ExitCode(); code != 0 {
			return &codeError{code, errors.New("the node has left the cluster: the log says why")}
		}
		return nil
	}
}

// stop runs the shutdown, unless the program is told to stop once more.
func (c serveCmd) stop(e *environment, node *holdfast.Node) error {
	ctx := context.WithoutCancel(e.ctx)
	stopped := make(chan error, 1)
	go func() {
		// Run says why; Shutdown waits for all that belongs to the node.
		err := node.CoordinatedShutdown().Run(ctx, coordinatedshutdown.Terminated)
		stopped <- errors.Join(err, node.Shutdown(ctx))
	}()
	select {
	case err := <-stopped:
		return err
	case <-e.kill:
		return &codeError{coordinatedshutdown.ExitSecondInterrupt, errors.New("told to stop twice: stopping at once")}
	}
}

// nodeConfig translates the command line into a node.
func (c serveCmd) nodeConfig(logger *slog.Logger, store journal.Journal, accounts *bank.Accounts) (holdfast.Config, error) {
	bindHost, managementPort, err := splitHostPort(c.ManagementAddr)
	if err != nil {
		return holdfast.Config{}, err
	}
	_, clusterPort, err := splitHostPort(c.ClusterAddr)
	if err != nil {
		return holdfast.Config{}, err
	}
	points, err := static.Parse(c.ContactPoints...)
	if err != nil {
		return holdfast.Config{}, usagef("--contact-points: %v", err)
	}
	timing := cluster.DefaultTiming()
	if c.Profile == "fast" {
		timing = cluster.FastTiming()
	}
	client := accounts.Client(nil) // gets its node when there is one
	handler, err := api.New(api.Config{Accounts: client, Tenants: c.Tenants, Logger: logger})
	if err != nil {
		return holdfast.Config{}, err
	}
	return holdfast.Config{
		Cluster:        c.Cluster,
		Entities:       []sharding.Entity{accounts.Type},
		Journal:        store,
		Host:           c.Advertise,
		BindHost:       bindHost,
		ClusterPort:    clusterPort,
		ManagementPort: managementPort,
		Zone:           c.Zone,
		Roles:          c.Roles,
		AppVersion:     c.AppVersion,
		Discovery:      points,
		Bootstrap: bootstrap.Settings{
			RequiredContactPoints: c.RequiredContactPoints,
			StableMargin:          c.StableMargin,
			JoinOnly:              !c.NewClusterEnabled,
		},
		Timing:    timing,
		DrainIdle: c.DrainIdle,
		Shutdown:  coordinatedshutdown.Config{Deadline: c.ShutdownDeadline, Phases: scaledPhases(c.ShutdownDeadline)},
		Logger:    logger,
		HTTP: &holdfast.HTTP{
			Addr: c.APIAddr,
			Handler: func(n *holdfast.Node) http.Handler {
				client.Router = n
				return handler
			},
		},
	}, nil
}

// scaledPhases fits the standard phases of a shutdown into deadline.
func scaledPhases(deadline time.Duration) []coordinatedshutdown.Phase {
	var phases []coordinatedshutdown.Phase
	for _, p := range coordinatedshutdown.Standard() {
		scale := float64(deadline) / float64(coordinatedshutdown.DefaultDeadline)
		phases = append(phases, coordinatedshutdown.Phase{Name: p.Name, Timeout: time.Duration(float64(p.Timeout) * scale)})
	}
	return phases
}

func splitHostPort(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, usagef("%v", err)
	}
	port, err = strconv.Atoi(text)
	if err != nil {
		return "", 0, usagef("port %q of %q is not a number", text, addr)
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}
