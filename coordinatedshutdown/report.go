package coordinatedshutdown

import (
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Outcome of a phase.
type Outcome uint8

// The outcomes.
const (
	// Pending: not run yet.
	Pending Outcome = iota
	// Running: in progress.
	Running
	// Done: every task ended without error, or there was none.
	Done
	// Failed: a task returned an error; none is overdue.
	Failed
	// Overdue: the phase ended by its timeout.
	Overdue
	// Cut: the phase ended because the whole run did, by its deadline or ctx.
	Cut
	// Skipped: not run, as the phase is disabled, comes before the one RunFrom
	// named, or comes after the end of the run.
	Skipped
)

// String gives the name used in logs.
func (o Outcome) String() string {
	return [...]string{"pending", "running", "done", "failed", "overdue", "cut", "skipped"}[min(o, Skipped)]
}

// Report says what a run did, and what each part took.
type Report struct {
	// Started: there is a run, and Reason is its reason.
	Started bool
	// Ended: the run is over, and Err its result.
	Ended  bool
	Reason Reason
	Err    error
	// Spent so far or in all, out of Deadline.
	Spent, Deadline time.Duration
	// Phases in their order.
	Phases []PhaseReport
}

// PhaseReport is a Report's part about a phase.
type PhaseReport struct {
	Name    string
	Outcome Outcome
	// Spent out of Timeout.
	Spent, Timeout time.Duration
	// Tasks that were started, in the order they were added.
	Tasks []TaskReport
}

// TaskReport is a Report's part about a task.
type TaskReport struct {
	Name  string
	Spent time.Duration
	// Err is nil after success.
	Err error
	// Hung: the task had not returned when its phase ended. Its goroutine may still
	// run.
	Hung bool
}

// String puts what each phase spent on one line, those that did nothing left out.
func (r Report) String() string {
	var b strings.Builder
	for _, p := range r.Phases {
		if p.Outcome == Pending || p.Outcome == Skipped || len(p.Tasks) == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.Name + "=" + round(p.Spent).String() + "/" + p.Timeout.String())
		if p.Outcome != Done {
			b.WriteString("(" + p.Outcome.String() + ")")
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

// Hung lists the tasks that had not returned when their phase ended, as
// phase/task.
func (r Report) Hung() []string {
	var names []string
	for _, p := range r.Phases {
		for _, t := range p.Tasks {
			if t.Hung {
				names = append(names, p.Name+"/"+t.Name)
			}
		}
	}
	return names
}

func (r Report) attrs() []any {
	attrs := []any{
		slog.String("reason", r.Reason.String()),
		slog.Int("exit_code", r.Reason.ExitCode()),
		slog.Duration("spent", round(r.Spent)),
		slog.Duration("deadline", r.Deadline),
		slog.String("phases", r.String()),
	}
	if hung := r.Hung(); len(hung) > 0 {
		attrs = append(attrs, slog.String("hung_tasks", strings.Join(hung, " ")))
	}
	if r.Err != nil {
		attrs = append(attrs, slog.String("error", r.Err.Error()))
	}
	return attrs
}

func round(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

func (p PhaseReport) clone() PhaseReport {
	p.Tasks = slices.Clone(p.Tasks)
	return p
}
