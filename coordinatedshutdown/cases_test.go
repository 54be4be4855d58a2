package coordinatedshutdown

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// cases is the table of another implementation's behavior. Its timeouts are not
// ours; its order and its rules for a run are.
type cases struct {
	Builtin  []casePhase `json:"builtin_phases"`
	Topology []struct {
		ID           string              `json:"id"`
		DependsOn    map[string][]string `json:"depends_on"`
		Order        *[]string           `json:"expect_order"`
		First        string              `json:"expect_first"`
		Last         string              `json:"expect_last"`
		Members      []string            `json:"expect_members"`
		Subsequences [][]string          `json:"expect_subsequences"`
		Error        string              `json:"expect_error"`
	} `json:"topology_cases"`
	Run []runCase `json:"run_cases"`
}

type casePhase struct {
	Phase     string   `json:"phase"`
	DependsOn []string `json:"depends_on"`
	TimeoutMS *int     `json:"timeout_ms"`
	Recover   *bool    `json:"recover"`
	Enabled   *bool    `json:"enabled"`
}

type runCase struct {
	ID           string               `json:"id"`
	Phases       map[string]casePhase `json:"phases"`
	Tasks        []caseTask           `json:"tasks"`
	CancelBefore []string             `json:"cancel_before_run"`
	From         string               `json:"from_phase"`
	Reason       string               `json:"reason"`
	Second       string               `json:"second_run_reason"`
	ExpectReason string               `json:"expect_reason"`
	Emitted      []string             `json:"expect_emitted"`
	Result       string               `json:"expect_result"`
}

type caseTask struct {
	Phase string     `json:"phase"`
	Name  string     `json:"name"`
	Key   string     `json:"key"`
	Do    []caseStep `json:"do"`
}

type caseStep struct {
	Emit    string    `json:"emit"`
	SleepMS int       `json:"sleep_ms"`
	Fail    string    `json:"fail"`
	Hang    bool      `json:"hang"`
	AddTask *caseTask `json:"add_task"`
	Cancel  string    `json:"cancel"`
}

// readCases reads the rows from the directory that HOLDFAST_CASES names, or else
// those that are checked in.
func readCases(t *testing.T) cases {
	t.Helper()
	dir := os.Getenv("HOLDFAST_CASES")
	if dir == "" {
		dir = "testdata"
	}
	data, err := os.ReadFile(filepath.Join(dir, "shutdown.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c cases
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestStandardPhasesAreThoseOfTheTable(t *testing.T) {
	want := readCases(t).Builtin
	if len(want) == 0 {
		t.Fatal("got no rows in builtin_phases")
	}
	got := Standard()
	if len(got) != len(want) {
		t.Fatalf("got %d phases, want %d", len(got), len(want))
	}
	for i, w := range want {
		t.Run(w.Phase, func(t *testing.T) {
			if g := got[i]; g.Name != w.Phase || !slices.Equal(g.DependsOn, w.DependsOn) || g.Abort == *w.Recover || g.Disabled == *w.Enabled {
				t.Errorf("got %+v, want %+v", g, w)
			}
		})
	}
}

func TestOrderOfTheTable(t *testing.T) {
	rows := readCases(t).Topology
	if len(rows) == 0 {
		t.Fatal("got no rows in topology_cases")
	}
	for _, row := range rows {
		t.Run(row.ID, func(t *testing.T) {
			var phases []Phase
			for _, name := range slices.Sorted(maps.Keys(row.DependsOn)) {
				phases = append(phases, Phase{Name: name, DependsOn: row.DependsOn[name]})
			}
			got, err := Order(phases)
			if row.Error == "cycle" {
				if _, ok := errors.AsType[*CycleError](err); !ok {
					t.Errorf("got %v, %v, want a cycle", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if row.Order != nil && !slices.Equal(got, *row.Order) {
				t.Errorf("got %v, want %v", got, *row.Order)
			}
			if row.First != "" && got[0] != row.First {
				t.Errorf("got %v, want %s first", got, row.First)
			}
			if row.Last != "" && got[len(got)-1] != row.Last {
				t.Errorf("got %v, want %s last", got, row.Last)
			}
			if row.Members != nil && !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(row.Members))) {
				t.Errorf("got %v, want the members %v", got, row.Members)
			}
			for _, sub := range row.Subsequences {
				rest := slices.DeleteFunc(slices.Clone(got), func(n string) bool { return !slices.Contains(sub, n) })
				if !slices.Equal(rest, sub) {
					t.Errorf("got %v, want %v in that order", got, sub)
				}
			}
		})
	}
}

func TestRunsOfTheTable(t *testing.T) {
	rows := readCases(t).Run
	if len(rows) == 0 {
		t.Fatal("got no rows in run_cases")
	}
	for _, row := range rows {
		t.Run(row.ID, func(t *testing.T) { synctest.Test(t, row.run) })
	}
}

func (row runCase) run(t *testing.T) {
	s := row.shutdown(t)
	var (
		mu      sync.Mutex
		emitted []string
		cancels = map[string]func(){}
		release = make(chan struct{})
		add     func(caseTask) error
	)
	defer close(release) // the tasks that hang
	do := func(step caseStep) error {
		switch {
		case step.Emit != "":
			mu.Lock()
			emitted = append(emitted, step.Emit)
			mu.Unlock()
		case step.SleepMS > 0:
			<-time.After(time.Duration(step.SleepMS) * time.Millisecond)
		case step.Fail != "":
			return errors.New(step.Fail)
		case step.Hang:
			<-release
		case step.AddTask != nil:
			_ = add(*step.AddTask) // refused where the table says that it never runs
		case step.Cancel != "":
			mu.Lock()
			cancel := cancels[step.Cancel]
			mu.Unlock()
			if cancel != nil {
				cancel()
			}
		}
		return nil
	}
	add = func(task caseTask) error {
		cancel, err := s.AddTask(task.Phase, task.Name, 0, func(context.Context) error {
			for _, step := range task.Do {
				if err := do(step); err != nil {
					return err
				}
			}
			return nil
		})
		mu.Lock()
		defer mu.Unlock()
		cancels[task.Key] = cancel
		cancels[task.Name] = cancel
		return err
	}
	for _, task := range row.Tasks {
		if err := add(task); err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range row.CancelBefore {
		if cancels[key] == nil {
			t.Fatalf("got no task with key %q", key)
		}
		cancels[key]()
	}
	if _, ok := s.Reason(); ok {
		t.Error("got a reason before the run, want none")
	}
	reasons := map[string]Reason{"": Requested, "Unknown": Requested, "Custom": ClusterLeaving}
	from := row.From
	if from == "" {
		from = s.plan[0].Name
	}
	err := s.RunFrom(t.Context(), reasons[row.Reason], from)
	if row.Second != "" {
		if second := s.Run(t.Context(), reasons[row.Second]); !errors.Is(second, err) {
			t.Errorf("second run: got %v, want the first's %v", second, err)
		}
	}
	if got, ok := s.Reason(); !ok || got != reasons[row.ExpectReason] && row.ExpectReason != "" {
		t.Errorf("got reason %v, want %v", got, row.ExpectReason)
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(emitted, row.Emitted) {
		t.Errorf("got %v emitted, want %v", emitted, row.Emitted)
	}
	got := "done"
	if errors.Is(err, ErrTimeout) {
		got = "timeout"
	} else if err != nil {
		got = "task-error"
	}
	if got != row.Result {
		t.Errorf("got %s (%v), want %s", got, err, row.Result)
	}
}

// shutdown has only the phases of the row.
func (row runCase) shutdown(t *testing.T) *Shutdown {
	t.Helper()
	var phases []Phase
	for _, name := range slices.Sorted(maps.Keys(row.Phases)) {
		c := row.Phases[name]
		p := Phase{Name: name, DependsOn: c.DependsOn, Timeout: 10 * time.Second}
		if c.TimeoutMS != nil {
			p.Timeout = time.Duration(*c.TimeoutMS) * time.Millisecond
		}
		p.Abort = c.Recover != nil && !*c.Recover
		p.Disabled = c.Enabled != nil && !*c.Enabled
		phases = append(phases, p)
	}
	plan, err := Plan(phases, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return newShutdown(Config{Deadline: time.Hour}.withDefaults(), plan)
}
