package cluster

import (
	"errors"
	"fmt"
)

// Errors that end a node's membership. Each is delivered once by Ended; the
// node must shut down and may start again as a new member.
var (
	// ErrDowned: the cluster declared this node down. Its shards have new
	// owners.
	ErrDowned = errors.New("cluster: this node was downed by the cluster")
	// ErrLostQuorum: no leader confirmed this node's session for Timing.LostAfter.
	ErrLostQuorum = errors.New("cluster: no session for too long: the cluster has lost its quorum or this node is cut off")
	// ErrSuperseded: the store says that a newer generation of the cluster exists.
	ErrSuperseded = errors.New("cluster: a newer generation of the cluster exists")
)

// ErrClaimed: Form found that a generation of the cluster may still be alive.
// The caller goes on looking for it.
var ErrClaimed = errors.New("cluster: a generation of this cluster may be alive")

// ErrNotRunning: the call needs a cluster that Run is running and that this
// node is a member of.
var ErrNotRunning = errors.New("cluster: this node is not a member of a running cluster")

// errNotLeader: this node does not lead (any more).
var errNotLeader = errors.New("cluster: this node does not lead")

// RefusedError is the answer of a cluster that does not want this node.
type RefusedError struct {
	// Reason in words, naming the setting and both values.
	Reason string
	// Permanent refusals stay until somebody changes the configuration.
	Permanent bool
}

// Error implements error.
func (e *RefusedError) Error() string { return fmt.Sprintf("cluster: join refused: %s", e.Reason) }

// Final reports whether trying again is useless.
func (e *RefusedError) Final() bool { return e.Permanent }
