package coordinatedshutdown

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The standard phases, in their order.
const (
	// BeforeServiceUnbind: turn unready, evacuate the shards, and go on serving and
	// proxying until the load balancer has stopped sending.
	BeforeServiceUnbind = "before-service-unbind"
	// ServiceUnbind: accept no new connections.
	ServiceUnbind = "service-unbind"
	// ServiceRequestsDone: let requests in flight finish.
	ServiceRequestsDone = "service-requests-done"
	// ServiceStop: close what is left of the service.
	ServiceStop = "service-stop"
	// BeforeClusterShutdown: last work that needs the cluster.
	BeforeClusterShutdown = "before-cluster-shutdown"
	// ClusterShardingShutdownRegion: stop the regions, handing off what is left.
	ClusterShardingShutdownRegion = "cluster-sharding-shutdown-region"
	// ClusterLeave: become Leaving.
	ClusterLeave = "cluster-leave"
	// ClusterExiting: wait to become Exiting.
	ClusterExiting = "cluster-exiting"
	// ClusterExitingDone: confirm it.
	ClusterExitingDone = "cluster-exiting-done"
	// ClusterShutdown: stop the cluster's own machinery.
	ClusterShutdown = "cluster-shutdown"
	// BeforeActorSystemTerminate: close stores and clients.
	BeforeActorSystemTerminate = "before-actor-system-terminate"
	// ActorSystemTerminate: stop the local actors.
	ActorSystemTerminate = "actor-system-terminate"
)

// DefaultPhaseTimeout is the timeout of an added phase that names none.
const DefaultPhaseTimeout = 5 * time.Second

// Phase is a step of the shutdown. Its tasks run side by side.
type Phase struct {
	// Name is unique.
	Name string
	// DependsOn are the phases that come before this one.
	DependsOn []string
	// Timeout ends the phase, whether its tasks have ended or not. Defaults to
	// DefaultPhaseTimeout.
	Timeout time.Duration
	// Abort ends the whole run with an error when a task of this phase fails or is
	// overdue: later phases do not run. By default that is reported, and the run
	// goes on.
	Abort bool
	// Disabled leaves the tasks out. Phases that depend on this one still run, and
	// its timeout is not part of the budget.
	Disabled bool
}

// Standard gives the twelve phases with their default timeouts, 105 s in all: they
// fit DefaultDeadline and leave 5 s for phases of your own. More than half is for
// the first, as a load balancer takes its time: 30 to 40 s after a target has
// turned unhealthy have been measured.
func Standard() []Phase {
	chain := []Phase{
		{Name: BeforeServiceUnbind, Timeout: 60 * time.Second},
		{Name: ServiceUnbind, Timeout: 2 * time.Second},
		{Name: ServiceRequestsDone, Timeout: 10 * time.Second},
		{Name: ServiceStop, Timeout: 3 * time.Second},
		{Name: BeforeClusterShutdown, Timeout: 3 * time.Second},
		{Name: ClusterShardingShutdownRegion, Timeout: 10 * time.Second},
		{Name: ClusterLeave, Timeout: 3 * time.Second},
		{Name: ClusterExiting, Timeout: 3 * time.Second},
		{Name: ClusterExitingDone, Timeout: 2 * time.Second},
		{Name: ClusterShutdown, Timeout: 3 * time.Second},
		{Name: BeforeActorSystemTerminate, Timeout: 3 * time.Second},
		{Name: ActorSystemTerminate, Timeout: 3 * time.Second},
	}
	for i := range chain[1:] {
		chain[i+1].DependsOn = []string{chain[i].Name}
	}
	return chain
}

// Merge lays changes over base. A change whose name base has replaces the timeout
// if it gives one, adds its dependencies, and may switch Abort and Disabled on; any
// other is an added phase. To put a phase of your own between two of base, let it
// depend on the first, and add a change that lets the second depend on it.
func Merge(base, changes []Phase) []Phase {
	merged := make([]Phase, len(base), len(base)+len(changes))
	for i, p := range base {
		p.DependsOn = slices.Clone(p.DependsOn)
		merged[i] = p
	}
	for _, c := range changes {
		i := slices.IndexFunc(merged[:len(base)], func(p Phase) bool { return p.Name == c.Name })
		if i < 0 {
			if c.Timeout == 0 {
				c.Timeout = DefaultPhaseTimeout
			}
			c.DependsOn = slices.Clone(c.DependsOn)
			merged = append(merged, c)
			continue
		}
		p := &merged[i]
		if c.Timeout != 0 {
			p.Timeout = c.Timeout
		}
		for _, d := range c.DependsOn {
			if !slices.Contains(p.DependsOn, d) {
				p.DependsOn = append(p.DependsOn, d)
			}
		}
		p.Abort = p.Abort || c.Abort
		p.Disabled = p.Disabled || c.Disabled
	}
	return merged
}

// CycleError is a circle of dependencies.
type CycleError struct {
	// Path of phases, each of which depends on the next; the last is the first.
	Path []string
}

// Error gives the path.
func (e *CycleError) Error() string {
	return "coordinatedshutdown: phases depend on each other in a cycle: " + strings.Join(e.Path, " -> ") + "; remove one DependsOn"
}

// Order puts phases in an order in which each comes after those it depends on, and
// otherwise in the order given: the same phases always give the same order. A phase
// that is only depended on gets its place too; Plan refuses it. The only error is
// *CycleError. (Depth-first topological sort.)
func Order(phases []Phase) ([]string, error) {
	deps := make(map[string][]string, len(phases))
	for _, p := range phases {
		deps[p.Name] = append(deps[p.Name], p.DependsOn...)
	}
	var (
		order []string
		path  []string // from a root to the phase in hand
		done  = make(map[string]bool, len(phases))
		visit func(string) error
	)
	visit = func(name string) error {
		if done[name] {
			return nil
		}
		if i := slices.Index(path, name); i >= 0 {
			return &CycleError{Path: append(slices.Clone(path[i:]), name)}
		}
		path = append(path, name)
		for _, d := range deps[name] {
			if err := visit(d); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		done[name] = true
		order = append(order, name)
		return nil
	}
	for _, p := range phases {
		if err := visit(p.Name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// BudgetError says that the phases may take longer than there is time.
type BudgetError struct {
	Deadline, Total time.Duration
	// Phases that count, in order.
	Phases []Phase
}

// Error names each phase with its timeout.
func (e *BudgetError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "coordinatedshutdown: phases may take %s, %s more than the deadline %s: ", e.Total, e.Total-e.Deadline, e.Deadline)
	for i, p := range e.Phases {
		if i > 0 {
			b.WriteString(" + ")
		}
		fmt.Fprintf(&b, "%s %s", p.Name, p.Timeout)
	}
	b.WriteString("; shorten or disable some")
	return b.String()
}

// Plan checks phases, and gives them in the order in which they run. It reports all
// problems at once: empty or double names, timeouts that are not positive,
// dependencies that do not exist, *CycleError and *BudgetError.
func Plan(phases []Phase, deadline time.Duration) ([]Phase, error) {
	var errs []error
	named := make(map[string]Phase, len(phases))
	for i, p := range phases {
		if p.Name == "" {
			errs = append(errs, fmt.Errorf("coordinatedshutdown: phase %d has no name; give it one", i))
			continue
		}
		if _, ok := named[p.Name]; ok {
			errs = append(errs, fmt.Errorf("coordinatedshutdown: phase %q is given twice; make it one", p.Name))
		}
		if p.Timeout <= 0 {
			errs = append(errs, fmt.Errorf("coordinatedshutdown: phase %q has timeout %s; use a positive one", p.Name, p.Timeout))
		}
		named[p.Name] = p
	}
	for _, p := range phases {
		for _, d := range p.DependsOn {
			if _, ok := named[d]; !ok {
				errs = append(errs, fmt.Errorf("coordinatedshutdown: phase %q depends on %q, which does not exist; add it or correct the name", p.Name, d))
			}
		}
	}
	order, err := Order(phases)
	if err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	plan := make([]Phase, 0, len(order))
	budget := BudgetError{Deadline: deadline}
	for _, name := range order {
		p := named[name]
		plan = append(plan, p)
		if !p.Disabled {
			budget.Total += p.Timeout
			budget.Phases = append(budget.Phases, p)
		}
	}
	if budget.Total > deadline {
		return nil, &budget
	}
	return plan, nil
}

// taskLimit is how long a task may take that asks for timeout (0: all it can get).
// It is a little less than its phase has, so that a task that heeds its ctx has
// returned when the phase ends.
func taskLimit(p Phase, timeout time.Duration) time.Duration {
	most := p.Timeout - min(p.Timeout/20, 250*time.Millisecond)
	if timeout == 0 {
		return most
	}
	return min(timeout, most)
}
