package coordinatedshutdown

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// Run runs all phases. The first call does; any other waits for its result, or for
// the end of its own ctx, so a task that calls Run must give its own ctx.
//
// When ctx or Config.Deadline ends during the run, the phase in hand is cut and the
// others are left out. A ctx that has already ended is refused with ErrContextEnded,
// and the run may still be made.
//
// Run returns nil also when tasks have failed or hung in phases without Abort; see
// Report. Otherwise it returns *PhaseError. When it returns all its goroutines have
// ended, but for those of the tasks that Report calls hung.
func (s *Shutdown) Run(ctx context.Context, reason Reason) error {
	return s.runAt(ctx, reason, 0)
}

// RunFrom is Run without the phases that are ordered before from. It returns
// ErrUnknownPhase, and has done nothing, when there is no such phase.
func (s *Shutdown) RunFrom(ctx context.Context, reason Reason, from string) error {
	at := s.place(from)
	if at < 0 {
		return fmt.Errorf("%w %q to run from; the phases are %s", ErrUnknownPhase, from, s.names())
	}
	return s.runAt(ctx, reason, at)
}

func (s *Shutdown) runAt(ctx context.Context, reason Reason, from int) error {
	if first, err := s.begin(ctx, reason, from); err != nil {
		return err
	} else if !first {
		return s.wait(ctx)
	}
	s.logger.InfoContext(ctx, "coordinated shutdown begins", slog.String("reason", reason.String()), slog.Duration("deadline", s.deadline))
	if fn := s.events.Started; fn != nil {
		s.guard(func() { fn(reason) })
	}
	timed, stop := context.WithTimeoutCause(ctx, s.deadline, ErrDeadline)
	defer stop()
	var err error
	for at := from; at < len(s.plan) && err == nil; at++ {
		err = s.runPhase(timed, at)
	}
	s.end(ctx, err)
	return err
}

// begin makes the caller the first, unless there is one.
func (s *Shutdown) begin(ctx context.Context, reason Reason, from int) (first bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.report.Started {
		return false, nil
	}
	if ctx.Err() != nil {
		return false, fmt.Errorf("%w: %w", ErrContextEnded, context.Cause(ctx))
	}
	s.report.Started, s.report.Reason = true, reason
	s.since = time.Now()
	s.begun = from
	for i := range from {
		s.report.Phases[i].Outcome = Skipped
	}
	close(s.started)
	return true, nil
}

func (s *Shutdown) wait(ctx context.Context) error {
	select {
	case <-s.ended:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.report.Err
	case <-ctx.Done():
		return fmt.Errorf("coordinatedshutdown: run has not ended: %w", context.Cause(ctx))
	}
}

func (s *Shutdown) end(ctx context.Context, err error) {
	s.mu.Lock()
	s.begun = len(s.plan)
	s.report.Ended, s.report.Err = true, err
	s.report.Spent = time.Since(s.since)
	for i := range s.report.Phases {
		if p := &s.report.Phases[i]; p.Outcome == Pending {
			p.Outcome = Skipped
		}
	}
	s.mu.Unlock()
	r := s.Report()
	level := slog.LevelInfo
	if err != nil || len(r.Hung()) > 0 {
		level = slog.LevelWarn
	}
	s.logger.Log(ctx, level, "coordinated shutdown ended", r.attrs()...)
	if fn := s.events.Ended; fn != nil {
		s.guard(func() { fn(r) })
	}
	close(s.ended)
}

// result is what a task's goroutine has to say.
type result struct {
	at  int
	rep TaskReport
}

// runPhase runs one phase, and returns why the run must not go on, or nil.
func (s *Shutdown) runPhase(ctx context.Context, at int) error {
	p := s.plan[at]
	tasks := s.take(at)
	if p.Disabled {
		s.logger.InfoContext(ctx, "shutdown phase is disabled", slog.String("phase", p.Name), slog.Int("tasks", len(tasks)))
		s.record(at, PhaseReport{Name: p.Name, Timeout: p.Timeout, Outcome: Skipped})
		return nil
	}
	if ctx.Err() != nil {
		return &PhaseError{Phase: p.Name, Err: context.Cause(ctx)}
	}
	if len(tasks) == 0 {
		s.record(at, PhaseReport{Name: p.Name, Timeout: p.Timeout, Outcome: Done})
		return nil
	}
	rep := PhaseReport{Name: p.Name, Timeout: p.Timeout, Outcome: Running, Tasks: make([]TaskReport, len(tasks))}
	for i, t := range tasks {
		rep.Tasks[i] = TaskReport{Name: t.name}
	}
	s.record(at, rep.clone())
	if fn := s.events.PhaseStarted; fn != nil {
		s.guard(func() { fn(p.Name) })
	}
	bad := s.runTasks(ctx, p, tasks, &rep)
	s.record(at, rep.clone())
	if fn := s.events.PhaseEnded; fn != nil {
		s.guard(func() { fn(rep.clone()) })
	}
	if rep.Outcome == Cut {
		return &PhaseError{Phase: p.Name, Err: context.Cause(ctx)}
	}
	if p.Abort && bad >= 0 {
		return &PhaseError{Phase: p.Name, Task: rep.Tasks[bad].Name, Err: rep.Tasks[bad].Err}
	}
	return nil
}

// runTasks runs tasks until all have ended or the time is up, and completes rep. It
// returns the place of the first task that failed or was overdue, or -1.
func (s *Shutdown) runTasks(ctx context.Context, p Phase, tasks []*task, rep *PhaseReport) (bad int) {
	began := time.Now()
	phase, cancel := context.WithTimeoutCause(ctx, p.Timeout, ErrTimeout)
	defer cancel()
	// Room for all: a task that hangs may end whenever it likes.
	results := make(chan result, len(tasks))
	heed, hurry := context.WithCancelCause(phase)
	defer hurry(nil)
	for i, t := range tasks {
		go func() { runTask(heed, i, t, results) }()
	}
	left := len(tasks)
	bad = -1
	ended := make([]bool, len(tasks))
	take := func(r result) {
		left--
		ended[r.at] = true
		rep.Tasks[r.at] = r.rep
		if r.rep.Err == nil {
			return
		}
		rep.Outcome = Failed
		s.logger.WarnContext(ctx, "shutdown task failed", slog.String("phase", p.Name), slog.String("task", r.rep.Name), slog.Duration("spent", round(r.rep.Spent)), slog.String("error", r.rep.Err.Error()))
		if bad < 0 {
			bad = r.at
			if p.Abort {
				// Nothing comes after this: the others need not finish their work.
				hurry(fmt.Errorf("task %s failed: %w", r.rep.Name, r.rep.Err))
			}
		}
	}
	for left > 0 && phase.Err() == nil {
		select {
		case r := <-results:
			take(r)
		case <-phase.Done():
		}
	}
	for left > 0 && len(results) > 0 {
		take(<-results)
	}
	rep.Spent = time.Since(began)
	if left == 0 {
		if rep.Outcome == Running {
			rep.Outcome = Done
		}
		return bad
	}
	rep.Outcome = Overdue
	if ctx.Err() != nil {
		rep.Outcome = Cut
	}
	for i := range rep.Tasks {
		if ended[i] {
			continue
		}
		rep.Tasks[i].Hung = true
		rep.Tasks[i].Spent = rep.Spent
		rep.Tasks[i].Err = fmt.Errorf("task has not returned by the end of its phase: %w", context.Cause(phase))
		if bad < 0 {
			bad = i
		}
		s.logger.WarnContext(ctx, "shutdown task hangs", slog.String("phase", p.Name), slog.String("task", rep.Tasks[i].Name), slog.Duration("timeout", p.Timeout))
	}
	return bad
}

// runTask runs t, and always gives a result.
func runTask(ctx context.Context, at int, t *task, results chan<- result) {
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, t.limit, ErrTimeout)
	defer cancel()
	err := ErrTaskExited
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v\n%s", ErrTaskPanicked, v, debug.Stack())
		}
		results <- result{at, TaskReport{Name: t.name, Spent: time.Since(began), Err: err}}
	}()
	err = t.run(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		// Which of the deadlines it was is in the cause only.
		if cause := context.Cause(ctx); !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
	}
}

// take closes a phase for new tasks, and gives those it has, which cannot be
// cancelled from now on.
func (s *Shutdown) take(at int) []*task {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = at + 1
	tasks := s.tasks[at]
	s.tasks[at] = nil
	return tasks
}

func (s *Shutdown) record(at int, rep PhaseReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Phases[at] = rep
}

// guard keeps a panic of an event hook from stopping the run.
func (s *Shutdown) guard(hook func()) {
	defer func() {
		if v := recover(); v != nil {
			s.logger.Error("event hook panicked", slog.Any("reason", v))
		}
	}()
	hook()
}
