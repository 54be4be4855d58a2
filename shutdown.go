package holdfast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	cs "github.com/holdfast-go/holdfast/coordinatedshutdown"
	"github.com/holdfast-go/holdfast/httpapi"
)

// CoordinatedShutdown gives access to the phases, to add tasks of your own: for
// example closing the journal in before-actor-system-terminate.
func (n *Node) CoordinatedShutdown() *cs.Shutdown { return n.shutdown }

// Shutdown stops the node by its phases and returns when it has stopped. It is
// bounded by Config.Shutdown.Deadline and by ctx.
func (n *Node) Shutdown(ctx context.Context) error { return n.run(ctx, cs.Requested) }

// ShutdownOnSignals stops the node when SIGTERM or SIGINT arrives; a second
// SIGINT calls exit at once. It returns when ctx ends or the shutdown is over.
func (n *Node) ShutdownOnSignals(ctx context.Context, exit func(code int)) error {
	err := n.shutdown.Signals(ctx, exit)
	select {
	case <-n.shutdown.Started():
		n.finish()
	default: // ctx ended first
	}
	return err
}

// Done is closed when the node has stopped, for whatever reason.
func (n *Node) Done() <-chan struct{} { return n.done }

// ExitCode is what the process should exit with after Done.
func (n *Node) ExitCode() int {
	reason, ok := n.shutdown.Reason()
	if !ok {
		return 0
	}
	return reason.ExitCode()
}

func (n *Node) run(ctx context.Context, reason cs.Reason) error {
	err := n.shutdown.Run(ctx, reason)
	n.finish()
	return err
}

// finish stops whatever the phases have not, for example because they were cut.
func (n *Node) finish() {
	n.stop.Do(func() {
		for _, name := range []string{"application", "regions", "cluster", "transport", "management"} {
			if p := n.part(name); p != nil {
				p.cancel()
				<-p.done
			}
		}
		close(n.done)
	})
	<-n.done
}

// addTasks puts the node's own steps into the phases.
func (n *Node) addTasks() error {
	var errs []error
	add := func(phase, name string, run func(ctx context.Context) error) {
		if _, err := n.shutdown.AddTask(phase, name, 0, run); err != nil {
			errs = append(errs, err)
		}
	}
	add(cs.BeforeServiceUnbind, "turn unready", n.turnUnready)
	add(cs.BeforeServiceUnbind, "evacuate shards", n.evacuate)
	add(cs.BeforeServiceUnbind, "wait for the load balancer", n.waitQuiet)
	add(cs.ServiceUnbind, "close the application port", func(context.Context) error {
		if api := n.server(); api != nil {
			api.Unbind()
		}
		return nil
	})
	add(cs.ServiceRequestsDone, "finish requests", func(ctx context.Context) error {
		api := n.server()
		if api == nil {
			return nil
		}
		return api.Drain().WaitRequests(ctx)
	})
	add(cs.ServiceStop, "stop the application server", n.stopper("application"))
	add(cs.ClusterShardingShutdownRegion, "stop the regions", n.stopper("regions"))
	add(cs.ClusterExiting, "leave the cluster", func(ctx context.Context) error {
		if !n.cluster.SessionValid() {
			return nil // nobody would answer
		}
		return n.cluster.Exit(ctx)
	})
	add(cs.ClusterShutdown, "stop the cluster", n.stopper("cluster"))
	add(cs.ActorSystemTerminate, "stop the actors", func(ctx context.Context) error {
		// The listener closes after the last entity has stopped: a refused
		// connection is what proves this node dead.
		return errors.Join(n.actors.Shutdown(ctx), n.stopper("transport")(ctx))
	})
	return errors.Join(errs...)
}

// stopper ends a part and waits for it.
func (n *Node) stopper(name string) func(context.Context) error {
	return func(ctx context.Context) error {
		p := n.part(name)
		if p == nil {
			return nil
		}
		p.cancel()
		select {
		case <-p.done:
			return p.err
		case <-ctx.Done():
			return fmt.Errorf("holdfast: stop %s: %w", name, ctx.Err())
		}
	}
}

func (n *Node) turnUnready(context.Context) error {
	n.gateDrain.Close("the node is shutting down")
	if api := n.server(); api != nil {
		api.Drain().Start()
	}
	return nil
}

// evacuate makes the node Leaving and waits until its shards are elsewhere. It
// goes on forwarding requests.
func (n *Node) evacuate(ctx context.Context) error {
	if !n.cluster.SessionValid() {
		return nil // downed, cut off or never in: there is nobody to hand over to
	}
	if err := n.cluster.Leave(ctx); err != nil {
		return err
	}
	empty, err := n.cluster.Evacuated(ctx)
	if err == nil && !empty {
		n.log.InfoContext(ctx, "nobody is left to take this node's shards", slog.Int("shards", n.Running()))
	}
	return err
}

// waitQuiet waits until the load balancer has stopped sending.
func (n *Node) waitQuiet(ctx context.Context) error {
	api := n.server()
	if api == nil || !n.cluster.SessionValid() {
		return nil
	}
	return api.Drain().WaitQuiet(ctx, n.cfg.DrainIdle)
}

// addChecks says what readiness and liveness depend on.
func (n *Node) addChecks() error {
	return errors.Join(
		n.health.AddCheck(httpapi.Ready, "session", func(context.Context) error {
			if !n.cluster.SessionValid() {
				return errors.New("no session: the leader has not confirmed this node lately, or it is not up yet: " + n.boot.Last().Reason)
			}
			return nil
		}),
		n.health.AddCheck(httpapi.Alive, "membership", func(context.Context) error {
			select {
			case <-n.done:
				return errors.New("the node has stopped")
			default:
				return nil
			}
		}),
	)
}
