package coordinatedshutdown

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func names(phases []Phase) (names []string) {
	for _, p := range phases {
		names = append(names, p.Name)
	}
	return names
}

func TestStandardPhasesFitTheDefaultDeadline(t *testing.T) {
	var total, largest time.Duration
	for _, p := range Standard() {
		total += p.Timeout
		largest = max(largest, p.Timeout)
	}
	if total > DefaultDeadline || DefaultDeadline > 115*time.Second {
		t.Errorf("got %s in all within %s; want it to fit, 5 s below the 120 s of Fargate", total, DefaultDeadline)
	}
	if first := Standard()[0]; first.Timeout != largest || first.Name != BeforeServiceUnbind {
		t.Errorf("got %+v first, want %s with the largest timeout", first, BeforeServiceUnbind)
	}
}

func TestOrderIsStable(t *testing.T) {
	phases := []Phase{{Name: "d"}, {Name: "c", DependsOn: []string{"a"}}, {Name: "b"}, {Name: "a"}}
	for range 50 {
		got, err := Order(phases)
		if want := []string{"d", "a", "c", "b"}; err != nil || !slices.Equal(got, want) {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	}
}

func TestACycleIsNamed(t *testing.T) {
	_, err := Order([]Phase{{Name: "x", DependsOn: []string{"a"}}, {Name: "a", DependsOn: []string{"b"}}, {Name: "b", DependsOn: []string{"c"}}, {Name: "c", DependsOn: []string{"a"}}})
	if err == nil || !strings.Contains(err.Error(), "a -> b -> c -> a;") {
		t.Errorf("got %v, want the cycle and nothing more", err)
	}
}

func TestPlanReportsAllProblemsAtOnce(t *testing.T) {
	_, err := Plan([]Phase{
		{Timeout: time.Second},
		{Name: "a", Timeout: time.Second, DependsOn: []string{"ghost"}},
		{Name: "a", Timeout: time.Second},
		{Name: "b", Timeout: -1, DependsOn: []string{"b"}},
	}, time.Minute)
	for _, want := range []string{"phase 0 has no name", `phase "a" is given twice`, `depends on "ghost"`, `phase "b" has timeout`, "b -> b"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestABudgetErrorNamesPhasesAndFigures(t *testing.T) {
	phases := []Phase{{Name: "a", Timeout: 3 * time.Second}, {Name: "off", Timeout: time.Hour, Disabled: true}, {Name: "b", Timeout: 2 * time.Second}}
	if _, err := Plan(phases, 5*time.Second); err != nil {
		t.Errorf("got %v, want no error: a disabled phase takes no time", err)
	}
	_, err := Plan(phases, 4*time.Second)
	var budget *BudgetError
	if !errors.As(err, &budget) || budget.Total != 5*time.Second {
		t.Fatalf("got %v, want a BudgetError of 5 s", err)
	}
	if want := "may take 5s, 1s more than the deadline 4s: a 3s + b 2s"; !strings.Contains(err.Error(), want) {
		t.Errorf("got %q, want %q in it", err, want)
	}
}

func TestMergeChangesAndAdds(t *testing.T) {
	base := Standard()
	got := Merge(base, []Phase{
		{Name: "flush", DependsOn: []string{ServiceStop}},
		{Name: BeforeClusterShutdown, DependsOn: []string{"flush", ServiceStop}, Timeout: time.Second, Abort: true, Disabled: true},
	})
	plan, err := Plan(got, DefaultDeadline)
	if err != nil {
		t.Fatal(err)
	}
	want := names(base)
	want = slices.Insert(want, slices.Index(want, BeforeClusterShutdown), "flush")
	if !slices.Equal(names(plan), want) {
		t.Errorf("got %v, want %v", names(plan), want)
	}
	i := slices.Index(want, "flush")
	if plan[i].Timeout != DefaultPhaseTimeout {
		t.Errorf("got timeout %s, want %s", plan[i].Timeout, DefaultPhaseTimeout)
	}
	if p := plan[i+1]; p.Timeout != time.Second || !p.Abort || !p.Disabled || !slices.Equal(p.DependsOn, []string{ServiceStop, "flush"}) {
		t.Errorf("got %+v", p)
	}
	if len(base[4].DependsOn) != 1 || base[4].Abort {
		t.Errorf("got a changed base %+v", base[4])
	}
	if _, err := Plan(Merge(base, []Phase{{Name: "x"}, {Name: "x"}}), DefaultDeadline); err == nil {
		t.Error("got no error for a phase added twice")
	}
}

func TestATaskEndsALittleBeforeItsPhase(t *testing.T) {
	for _, tt := range []struct{ phase, asked, want time.Duration }{
		{time.Second, 0, 950 * time.Millisecond},
		{time.Minute, 0, time.Minute - 250*time.Millisecond},
		{time.Minute, time.Minute, time.Minute - 250*time.Millisecond},
		{time.Minute, time.Second, time.Second},
	} {
		if got := taskLimit(Phase{Timeout: tt.phase}, tt.asked); got != tt.want {
			t.Errorf("phase %s, asked %s: got %s, want %s", tt.phase, tt.asked, got, tt.want)
		}
	}
}
