package coordinatedshutdown

import "strconv"

// Reason is why the node stops. Its numbers and exit codes are fixed; new ones are
// added at the end.
type Reason uint8

// The reasons. See the package documentation for the table of exit codes.
const (
	// Requested: the program asked for it.
	Requested Reason = iota
	// Terminated: SIGTERM, which is how ECS stops a task.
	Terminated
	// Interrupted: SIGINT.
	Interrupted
	// ClusterLeaving: somebody else told this node to leave.
	ClusterLeaving
	// ClusterDowning: the node was downed, or decided to go.
	ClusterDowning
	// QuorumLost: the cluster lost its quorum and may not go on without it.
	QuorumLost
	// JoinFailed: no cluster took the node, or formed, in time.
	JoinFailed
	// Incompatible: the cluster's settings or version differ from the node's.
	Incompatible
	// BindFailed: an address could not be listened on.
	BindFailed
	// StoreLost: the durable store is out of reach.
	StoreLost
	// Internal: a defect.
	Internal
	reasonCount
)

// reasonFacts gives name and exit code. Codes stay clear of 0 to 2, which the
// runtime and flag parsing use, and of 125 and above, which shells and container
// runtimes use.
func reasonFacts(r Reason) (name string, exitCode int) {
	switch r {
	case Requested:
		return "requested", 0
	case Terminated:
		return "terminated", 0
	case Interrupted:
		return "interrupted", 0
	case ClusterLeaving:
		return "cluster-leaving", 0
	case ClusterDowning:
		return "cluster-downing", 10
	case QuorumLost:
		return "quorum-lost", 11
	case JoinFailed:
		return "join-failed", 12
	case Incompatible:
		return "incompatible", 13
	case BindFailed:
		return "bind-failed", 14
	case StoreLost:
		return "store-lost", 15
	case Internal:
		return "internal", 16
	case reasonCount:
	}
	return "reason-" + strconv.Itoa(int(r)), 16
}

// String gives the name used in logs.
func (r Reason) String() string { name, _ := reasonFacts(r); return name }

// ExitCode is what the process should end with after a run for that reason. Not 0
// means that something went wrong, so that ECS counts it as a failure.
func (r Reason) ExitCode() int { _, code := reasonFacts(r); return code }

// ExitSecondInterrupt is the exit code of a second SIGINT, as of a shell.
const ExitSecondInterrupt = 130
