package coordinatedshutdown

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	// DefaultDeadline of a whole run: below the 120 s that Fargate gives a task
	// between SIGTERM and SIGKILL at most. Set stopTimeout to it plus 5 s or more.
	DefaultDeadline = 110 * time.Second
	// MaxTasks that may be added.
	MaxTasks = 1000
)

// Config of a Shutdown. The zero value works.
type Config struct {
	// Deadline for the whole run. Defaults to DefaultDeadline.
	Deadline time.Duration
	// Phases change the standard ones, or are added to them: see Merge. The
	// timeouts of all must fit Deadline.
	Phases []Phase
	// Logger for what failed, and for the closing line. Defaults to a logger that
	// discards.
	Logger *slog.Logger
	// Events to observe the run with.
	Events Events
}

// Events are called as things happen, by the goroutine of the run, which they must
// not block. Nil ones are left out.
type Events struct {
	// Started: the run begins.
	Started func(Reason)
	// PhaseStarted: a phase with tasks begins.
	PhaseStarted func(phase string)
	// PhaseEnded: it is over.
	PhaseEnded func(PhaseReport)
	// Ended: the run is over.
	Ended func(Report)
}

// Validate reports all problems at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Deadline < 0 {
		errs = append(errs, fmt.Errorf("coordinatedshutdown: Config.Deadline is %s; use a positive duration, or 0 for %s", c.Deadline, DefaultDeadline))
	}
	if _, err := Plan(Merge(Standard(), c.Phases), max(c.Deadline, 0)); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Deadline == 0 {
		c.Deadline = DefaultDeadline
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
