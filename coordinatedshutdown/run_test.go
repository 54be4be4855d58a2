package coordinatedshutdown

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func mustNew(t *testing.T, cfg Config) *Shutdown {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustAdd(t *testing.T, s *Shutdown, phase, name string, timeout time.Duration, run func(context.Context) error) (cancel func()) {
	t.Helper()
	cancel, err := s.AddTask(phase, name, timeout, run)
	if err != nil {
		t.Fatal(err)
	}
	return cancel
}

// takes is a task that works for d and heeds its ctx.
func takes(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func phaseOf(t *testing.T, r Report, name string) PhaseReport {
	t.Helper()
	i := slices.IndexFunc(r.Phases, func(p PhaseReport) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("got no phase %s in the report", name)
	}
	return r.Phases[i]
}

func TestPhasesRunInOrderAndTheirTasksSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []string
		var out bytes.Buffer
		var events []string
		s := mustNew(t, Config{
			Logger: slog.New(slog.NewTextHandler(&out, nil)),
			Events: Events{
				Started:      func(r Reason) { events = append(events, "started "+r.String()) },
				PhaseStarted: func(p string) { events = append(events, p) },
				PhaseEnded:   func(p PhaseReport) { events = append(events, p.Name+" "+p.Outcome.String()) },
				Ended:        func(r Report) { events = append(events, "ended "+r.Spent.String()) },
			},
		})
		for _, p := range slices.Backward(Standard()) {
			for i := range 3 {
				mustAdd(t, s, p.Name, fmt.Sprint(i), 0, func(ctx context.Context) error {
					mu.Lock()
					seen = append(seen, p.Name)
					mu.Unlock()
					return takes(time.Second)(ctx)
				})
			}
		}
		began := time.Now()
		if err := s.Run(t.Context(), Terminated); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(began); got != 12*time.Second {
			t.Errorf("got %s, want 12s: one second a phase", got)
		}
		var want []string
		for _, p := range Standard() {
			want = append(want, p.Name, p.Name, p.Name)
		}
		if !slices.Equal(seen, want) {
			t.Errorf("got %v, want %v", seen, want)
		}
		if len(events) != 26 || events[0] != "started terminated" || events[1] != BeforeServiceUnbind || events[2] != BeforeServiceUnbind+" done" || events[25] != "ended 12s" {
			t.Errorf("got events %q", events)
		}
		if n := strings.Count(out.String(), "coordinated shutdown ended"); n != 1 {
			t.Errorf("got %d closing lines, want 1", n)
		}
		for _, want := range []string{"reason=terminated", "exit_code=0", "spent=12s", "deadline=1m50s", "before-service-unbind=1s/1m0s", "actor-system-terminate=1s/3s"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("got %s, want %q in it", out.String(), want)
			}
		}
	})
}

func TestANodeThatHasNothingToStopStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Config{})
		if err := s.Run(t.Context(), Requested); err != nil {
			t.Fatal(err)
		}
		r := s.Report()
		if !r.Ended || r.Spent != 0 || r.String() != "none" || phaseOf(t, r, ClusterLeave).Outcome != Done {
			t.Errorf("got %+v", r)
		}
	})
}

func TestAHungTaskCostsItsPhaseOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		s := mustNew(t, Config{})
		mustAdd(t, s, ServiceStop, "hangs", 0, func(context.Context) error { <-release; return nil })
		mustAdd(t, s, ServiceStop, "heeds", 0, takes(time.Hour))
		mustAdd(t, s, ServiceStop, "quick", time.Second, takes(time.Hour))
		mustAdd(t, s, ClusterLeave, "leave", 0, takes(time.Second))
		if err := s.Run(t.Context(), Requested); err != nil {
			t.Fatal(err)
		}
		r := s.Report()
		if r.Spent != 4*time.Second {
			t.Errorf("got %s, want 3s of the phase and 1s", r.Spent)
		}
		if got := r.Hung(); !slices.Equal(got, []string{"service-stop/hangs"}) {
			t.Errorf("got %v hung", got)
		}
		p := phaseOf(t, r, ServiceStop)
		if p.Outcome != Overdue {
			t.Errorf("got %s, want overdue", p.Outcome)
		}
		for i, want := range []time.Duration{3 * time.Second, 2850 * time.Millisecond, time.Second} {
			if got := p.Tasks[i]; got.Spent != want || !errors.Is(got.Err, ErrTimeout) {
				t.Errorf("task %s: got %s, %v, want %s and a timeout", got.Name, got.Spent, got.Err, want)
			}
		}
		if phaseOf(t, r, ClusterLeave).Outcome != Done {
			t.Error("got a later phase that is not done")
		}
	})
}

func TestFailuresArePutOnRecordAndTheRunGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		s := mustNew(t, Config{})
		mustAdd(t, s, ServiceStop, "error", 0, func(context.Context) error { return boom })
		mustAdd(t, s, ServiceStop, "panic", 0, func(context.Context) error { panic("x") })
		mustAdd(t, s, ServiceStop, "goexit", 0, func(context.Context) error { runtime.Goexit(); return nil })
		if err := s.Run(t.Context(), Requested); err != nil {
			t.Fatal(err)
		}
		p := phaseOf(t, s.Report(), ServiceStop)
		for i, want := range []error{boom, ErrTaskPanicked, ErrTaskExited} {
			if got := p.Tasks[i].Err; !errors.Is(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		if p.Outcome != Failed {
			t.Errorf("got %s, want failed", p.Outcome)
		}
	})
}

func TestAFailureInAnAbortingPhaseEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		s := mustNew(t, Config{Phases: []Phase{{Name: ServiceStop, Abort: true}}})
		mustAdd(t, s, ServiceStop, "bad", 0, func(context.Context) error { return boom })
		mustAdd(t, s, ServiceStop, "slow", 0, takes(time.Hour))
		mustAdd(t, s, ClusterLeave, "never", 0, func(context.Context) error { t.Error("got a later phase"); return nil })
		err := s.Run(t.Context(), Requested)
		var pe *PhaseError
		if !errors.As(err, &pe) || pe.Phase != ServiceStop || pe.Task != "bad" || !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
		r := s.Report()
		if r.Spent != 0 || phaseOf(t, r, ClusterLeave).Outcome != Skipped || !errors.Is(r.Err, err) {
			t.Errorf("got %+v, want the slow task told at once, and the rest skipped", r)
		}
	})
}

func TestTheDeadlineAndTheCtxCutTheRun(t *testing.T) {
	for _, tt := range []struct {
		name string
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		want error
		at   time.Duration
	}{
		{"deadline", context.WithCancel, ErrDeadline, 5 * time.Second},
		{"ctx", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 3*time.Second)
		}, context.DeadlineExceeded, 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				defer close(release)
				s := mustNew(t, Config{})
				s.deadline = 5 * time.Second // a validated one cannot be reached
				mustAdd(t, s, BeforeServiceUnbind, "hangs", 0, func(context.Context) error { <-release; return nil })
				mustAdd(t, s, ClusterLeave, "never", 0, func(context.Context) error { t.Error("got a later phase"); return nil })
				ctx, cancel := tt.ctx(t.Context())
				defer cancel()
				err := s.Run(ctx, Requested)
				var pe *PhaseError
				if !errors.Is(err, tt.want) || !errors.As(err, &pe) || pe.Phase != BeforeServiceUnbind {
					t.Errorf("got %v, want %v in the first phase", err, tt.want)
				}
				r := s.Report()
				if r.Spent != tt.at || phaseOf(t, r, BeforeServiceUnbind).Outcome != Cut || phaseOf(t, r, ClusterLeave).Outcome != Skipped {
					t.Errorf("got %+v, want it cut after %s", r, tt.at)
				}
			})
		})
	}
}

func TestACtxThatHasEndedIsRefusedAndTheRunMayStillBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustNew(t, Config{})
		ran := false
		mustAdd(t, s, ServiceStop, "task", 0, func(context.Context) error { ran = true; return nil })
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ended, Internal); !errors.Is(err, ErrContextEnded) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, ErrContextEnded)
		}
		if err := s.RunFrom(t.Context(), Internal, "ghost"); !errors.Is(err, ErrUnknownPhase) {
			t.Errorf("got %v, want %v", err, ErrUnknownPhase)
		}
		if err := s.Run(t.Context(), Requested); err != nil || !ran {
			t.Errorf("got %v and ran %v", err, ran)
		}
	})
}

func TestItRunsOnceAndAllCallersGetTheSameResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		s := mustNew(t, Config{Phases: []Phase{{Name: ServiceStop, Abort: true}}})
		mustAdd(t, s, ServiceStop, "once", 0, func(ctx context.Context) error {
			runs++
			_ = takes(time.Second)(ctx)
			return errors.New("boom")
		})
		errs := make([]error, 5)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = s.Run(t.Context(), Requested) })
		}
		<-s.Started()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := s.Run(ctx, Internal); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an impatient caller: got %v", err)
		}
		if r := s.Report(); r.Ended || r.Spent != time.Millisecond || phaseOf(t, r, ServiceStop).Outcome != Running {
			t.Errorf("got %+v, want a run in progress", r)
		}
		wg.Wait()
		<-s.Ended()
		for _, err := range errs {
			if err == nil || !errors.Is(err, errs[0]) {
				t.Errorf("got %v, want %v", err, errs[0])
			}
		}
		if runs != 1 {
			t.Errorf("got %d runs, want 1", runs)
		}
		if err := s.Run(t.Context(), Internal); !errors.Is(err, errs[0]) {
			t.Errorf("a late caller: got %v, want %v", err, errs[0])
		}
	})
}

func TestTasksThatCannotRunAreRefusedWhenTheyAreAdded(t *testing.T) {
	s := mustNew(t, Config{})
	run := takes(0)
	for _, tt := range []struct {
		phase, name string
		timeout     time.Duration
		run         func(context.Context) error
		want        error
		text        string
	}{
		{"ghost", "a", 0, run, ErrUnknownPhase, `"ghost" of task "a"; the phases are [before-service-unbind`},
		{ServiceStop, "a", 4 * time.Second, run, ErrTaskTooLong, "a wants 4s, phase service-stop has 3s"},
		{ServiceStop, "", 0, run, ErrTaskInvalid, "no name"},
		{ServiceStop, "a", 0, nil, ErrTaskInvalid, "no function"},
		{ServiceStop, "a", -1, run, ErrTaskInvalid, "timeout"},
	} {
		if _, err := s.AddTask(tt.phase, tt.name, tt.timeout, tt.run); !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("got %v, want %v with %q", err, tt.want, tt.text)
		}
	}
	for range MaxTasks {
		mustAdd(t, s, ServiceStop, "a", 0, run)
	}
	if _, err := s.AddTask(ServiceStop, "a", 0, run); !errors.Is(err, ErrTaskInvalid) {
		t.Errorf("got %v, want %v", err, ErrTaskInvalid)
	}
}

func TestTasksMayBeAddedAndTakenBackUntilTheirPhaseBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ran []string
		s := mustNew(t, Config{})
		note := func(name string) func(context.Context) error {
			return func(context.Context) error { ran = append(ran, name); return nil }
		}
		mustAdd(t, s, ClusterLeave, "taken back before", 0, note("taken back before"))()
		back := mustAdd(t, s, ClusterLeave, "taken back during", 0, note("taken back during"))
		var own func()
		own = mustAdd(t, s, ServiceStop, "adds", 0, func(context.Context) error {
			own() // too late, and harmless
			back()
			back()
			mustAdd(t, s, ClusterLeave, "late", 0, note("late"))
			for _, phase := range []string{ServiceStop, ServiceUnbind} {
				if _, err := s.AddTask(phase, "too late", 0, note("too late")); !errors.Is(err, ErrPhaseBegun) {
					t.Errorf("%s: got %v, want %v", phase, err, ErrPhaseBegun)
				}
			}
			return nil
		})
		if err := s.Run(t.Context(), Requested); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(ran, []string{"late"}) {
			t.Errorf("got %v, want the late one", ran)
		}
	})
}

func TestPanickingHooksDoNotStopTheRun(t *testing.T) {
	s := mustNew(t, Config{Events: Events{
		Started:      func(Reason) { panic("x") },
		PhaseStarted: func(string) { panic("x") },
		PhaseEnded:   func(PhaseReport) { panic("x") },
		Ended:        func(Report) { panic("x") },
	}})
	mustAdd(t, s, ServiceStop, "a", 0, takes(0))
	if err := s.Run(t.Context(), Requested); err != nil {
		t.Fatal(err)
	}
	<-s.Ended()
}

func TestNewReportsEveryProblem(t *testing.T) {
	_, err := New(Config{Deadline: -1, Phases: []Phase{{Name: "a", DependsOn: []string{"ghost"}}}})
	for _, want := range []string{"Config.Deadline is -1ns", `depends on "ghost"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	if _, err := New(Config{Deadline: 30 * time.Second}); err == nil || !strings.Contains(err.Error(), "may take 1m45s, 1m15s more than the deadline 30s") {
		t.Errorf("got %v, want the budget", err)
	}
}

func TestReasonsHaveTheirExitCodes(t *testing.T) {
	want := map[Reason]int{
		Requested: 0, Terminated: 0, Interrupted: 0, ClusterLeaving: 0,
		ClusterDowning: 10, QuorumLost: 11, JoinFailed: 12, Incompatible: 13, BindFailed: 14, StoreLost: 15, Internal: 16,
		reasonCount: 16,
	}
	if len(want) != int(reasonCount)+1 {
		t.Fatalf("got %d reasons in the table, want %d", len(want)-1, reasonCount)
	}
	seen := map[string]bool{}
	for r, code := range want {
		if got := r.ExitCode(); got != code {
			t.Errorf("%s: got %d, want %d", r, got, code)
		}
		if seen[r.String()] {
			t.Errorf("got the name %s twice", r)
		}
		seen[r.String()] = true
	}
}
