package coordinatedshutdown

import (
	"errors"
	"fmt"
)

var (
	// ErrUnknownPhase: no phase has that name. Correct it, or add the phase to
	// Config.Phases.
	ErrUnknownPhase = errors.New("coordinatedshutdown: unknown phase")
	// ErrPhaseBegun: the phase, or a later one, runs or has run; the task would
	// never. Do its work at once, or add it to a later phase.
	ErrPhaseBegun = errors.New("coordinatedshutdown: phase has begun; the task would never run")
	// ErrTaskTooLong: a task asks for more time than its phase has. Shorten it, or
	// give the phase more in Config.Phases.
	ErrTaskTooLong = errors.New("coordinatedshutdown: task is longer than its phase")
	// ErrTaskInvalid: a task without name or function, with a negative timeout, or
	// one too many.
	ErrTaskInvalid = errors.New("coordinatedshutdown: invalid task")
	// ErrTimeout: a task or phase used up its time.
	ErrTimeout = errors.New("coordinatedshutdown: timeout")
	// ErrDeadline: the whole run used up Config.Deadline.
	ErrDeadline = errors.New("coordinatedshutdown: deadline passed")
	// ErrContextEnded: Run was given a ctx that had ended already, and did nothing.
	// Give it one of its own, not the one whose end is the reason to stop.
	ErrContextEnded = errors.New("coordinatedshutdown: not run, its ctx had already ended; give Run a ctx of its own")
	// ErrTaskPanicked: a task panicked; the log has the stack.
	ErrTaskPanicked = errors.New("coordinatedshutdown: task panicked")
	// ErrTaskExited: a task ended its goroutine with runtime.Goexit.
	ErrTaskExited = errors.New("coordinatedshutdown: task called runtime.Goexit; return instead")
)

// PhaseError is what ended a run before its last phase.
type PhaseError struct {
	// Phase in which it ended.
	Phase string
	// Task that failed or was overdue first; empty when the run was cut.
	Task string
	// Err is the task's, or wraps ErrTimeout, ErrDeadline or the cause of ctx.
	Err error
}

// Error names phase and task.
func (e *PhaseError) Error() string {
	if e.Task == "" {
		return fmt.Sprintf("coordinatedshutdown: cut in phase %s: %v", e.Phase, e.Err)
	}
	return fmt.Sprintf("coordinatedshutdown: aborted in phase %s by task %s: %v", e.Phase, e.Task, e.Err)
}

// Unwrap gives Err.
func (e *PhaseError) Unwrap() error { return e.Err }
