package holdfast

import (
	"errors"
	"fmt"

	"github.com/holdfast-go/holdfast/cluster"
	"github.com/holdfast-go/holdfast/coordinatedshutdown"
)

// ErrNoJournal: a durable entity type on a node without Config.Journal.
var ErrNoJournal = errors.New("holdfast: a durable entity needs Config.Journal")

// StartError says which step of Start failed.
type StartError struct {
	// Step: "configuration", "cluster port", "management port", "bootstrap",
	// "application port".
	Step string
	// Reason has the exit code for the process.
	Reason coordinatedshutdown.Reason
	Err    error
}

// Error implements error.
func (e *StartError) Error() string { return fmt.Sprintf("holdfast: start: %s: %v", e.Step, e.Err) }

// Unwrap gives Err.
func (e *StartError) Unwrap() error { return e.Err }

// endReason tells why a membership ended in terms of the shutdown.
func endReason(err error) coordinatedshutdown.Reason {
	switch {
	case errors.Is(err, cluster.ErrLostQuorum):
		return coordinatedshutdown.QuorumLost
	case errors.Is(err, cluster.ErrDowned), errors.Is(err, cluster.ErrSuperseded):
		return coordinatedshutdown.ClusterDowning
	}
	return coordinatedshutdown.Internal
}
