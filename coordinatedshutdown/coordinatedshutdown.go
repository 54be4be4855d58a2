package coordinatedshutdown

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Shutdown runs the tasks of a process that stops, phase by phase, once.
type Shutdown struct {
	deadline time.Duration
	logger   *slog.Logger
	events   Events
	plan     []Phase // in order

	started chan struct{} // closed when the run begins
	ended   chan struct{} // closed when it is over

	mu    sync.Mutex
	tasks [][]*task // by place in plan
	count int
	begun int // places below it take no tasks any more
	since time.Time
	// report is of the run, up to date but for Spent.
	report Report
}

type task struct {
	name  string
	limit time.Duration
	run   func(context.Context) error
}

// New checks cfg and allocates; errors are those of Config.Validate.
func New(cfg Config) (*Shutdown, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	plan, err := Plan(Merge(Standard(), cfg.Phases), cfg.Deadline)
	if err != nil {
		return nil, err
	}
	return newShutdown(cfg, plan), nil
}

func newShutdown(cfg Config, plan []Phase) *Shutdown {
	s := &Shutdown{
		deadline: cfg.Deadline,
		logger:   cfg.Logger,
		events:   cfg.Events,
		plan:     plan,
		started:  make(chan struct{}),
		ended:    make(chan struct{}),
		tasks:    make([][]*task, len(plan)),
		report:   Report{Deadline: cfg.Deadline},
	}
	for _, p := range plan {
		s.report.Phases = append(s.report.Phases, PhaseReport{Name: p.Name, Timeout: p.Timeout})
	}
	return s
}

// AddTask has run called in a phase, side by side with the other tasks of it. The
// ctx of run ends after timeout (0: with the phase), and always a little before the
// phase does: 5 % of its timeout, at most 250 ms. Names need not be unique.
//
// Tasks may be added at any time, also from a task, as long as their phase has not
// begun. Cancel takes the task back if it has not been started.
//
// Errors: ErrUnknownPhase, ErrTaskTooLong, ErrTaskInvalid, ErrPhaseBegun.
func (s *Shutdown) AddTask(phase, name string, timeout time.Duration, run func(ctx context.Context) error) (cancel func(), err error) {
	at := s.place(phase)
	if at < 0 {
		return nil, fmt.Errorf("%w %q of task %q; the phases are %s", ErrUnknownPhase, phase, name, s.names())
	}
	p := s.plan[at]
	switch {
	case name == "":
		return nil, fmt.Errorf("%w: it has no name, in phase %s; give it one for the log", ErrTaskInvalid, phase)
	case run == nil:
		return nil, fmt.Errorf("%w: %s in phase %s has no function", ErrTaskInvalid, name, phase)
	case timeout < 0:
		return nil, fmt.Errorf("%w: %s in phase %s has timeout %s; use a positive one, or 0 for that of the phase", ErrTaskInvalid, name, phase, timeout)
	case timeout > p.Timeout:
		return nil, fmt.Errorf("%w: %s wants %s, phase %s has %s; shorten it or raise the phase in Config.Phases", ErrTaskTooLong, name, timeout, phase, p.Timeout)
	}
	t := &task{name: name, limit: taskLimit(p, timeout), run: run}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at < s.begun {
		return nil, fmt.Errorf("%w: %s in phase %s", ErrPhaseBegun, name, phase)
	}
	if s.count == MaxTasks {
		return nil, fmt.Errorf("%w: %s in phase %s is one more than %d", ErrTaskInvalid, name, phase, MaxTasks)
	}
	s.count++
	s.tasks[at] = append(s.tasks[at], t)
	return func() { s.cancel(at, t) }, nil
}

func (s *Shutdown) cancel(at int, t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.tasks[at], t); i >= 0 {
		s.tasks[at] = slices.Delete(s.tasks[at], i, i+1)
		s.count--
	}
}

func (s *Shutdown) place(phase string) int {
	return slices.IndexFunc(s.plan, func(p Phase) bool { return p.Name == phase })
}

func (s *Shutdown) names() []string {
	var names []string
	for _, p := range s.plan {
		names = append(names, p.Name)
	}
	return names
}

// Started is closed when a run has begun.
func (s *Shutdown) Started() <-chan struct{} { return s.started }

// Ended is closed when the run is over.
func (s *Shutdown) Ended() <-chan struct{} { return s.ended }

// Reason of the run; ok is false as long as there is none.
func (s *Shutdown) Reason() (r Reason, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report.Reason, s.report.Started
}

// Report says what the run has done by now.
func (s *Shutdown) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.report
	r.Phases = make([]PhaseReport, 0, len(s.report.Phases))
	for _, p := range s.report.Phases {
		r.Phases = append(r.Phases, p.clone())
	}
	if r.Started && !r.Ended {
		r.Spent = time.Since(s.since)
	}
	return r
}
