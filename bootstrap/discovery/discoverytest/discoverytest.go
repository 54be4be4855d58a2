package discoverytest

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/bootstrap/discovery"
)

// Suite says how to make the discovery under test.
type Suite struct {
	// New returns a discovery whose source holds want, and nothing else. It is
	// called once for each test, with different targets.
	New func(t *testing.T, want []discovery.Target) discovery.Discovery
	// Targets that the source can hold. Defaults to two addresses without port.
	Targets []discovery.Target
	// Timeout bounds one Discover. Defaults to 10 s.
	Timeout time.Duration
}

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Helper()
	if s.Timeout == 0 {
		s.Timeout = 10 * time.Second
	}
	if s.Targets == nil {
		s.Targets = []discovery.Target{mustParse(t, "10.0.0.2"), mustParse(t, "10.0.0.10")}
	}
	discover := func(t *testing.T, d discovery.Discovery) []discovery.Target {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), s.Timeout)
		defer cancel()
		got, err := d.Discover(ctx)
		if err != nil {
			t.Fatalf("Discover() got error %v, want nil", err)
		}
		return got
	}

	t.Run("it answers what the source holds", func(t *testing.T) {
		got := discover(t, s.New(t, s.Targets))
		if !sameTargets(got, s.Targets) {
			t.Errorf("got %v, want %v in any order", got, s.Targets)
		}
		for _, target := range got {
			if err := target.Validate(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("an empty source is an answer and no error", func(t *testing.T) {
		if got := discover(t, s.New(t, nil)); len(got) != 0 {
			t.Errorf("got %v, want nothing", got)
		}
	})
	t.Run("it can be asked again", func(t *testing.T) {
		d := s.New(t, s.Targets)
		first, second := discover(t, d), discover(t, d)
		if !sameTargets(first, second) {
			t.Errorf("the second answer got %v, want %v", second, first)
		}
	})
	t.Run("the caller owns the answer", func(t *testing.T) {
		d := s.New(t, s.Targets)
		clear(discover(t, d))
		if got := discover(t, d); !sameTargets(got, s.Targets) {
			t.Errorf("after the first answer was overwritten got %v, want %v", got, s.Targets)
		}
	})
	t.Run("it ends with its context", func(t *testing.T) {
		d := s.New(t, s.Targets)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if got, err := d.Discover(ctx); err == nil || got != nil {
				t.Errorf("Discover() with an ended context got %v, %v, want no targets and an error", got, err)
			}
		}()
		select {
		case <-done:
		case <-time.After(s.Timeout):
			t.Fatalf("Discover() did not return within %v after its context had ended", s.Timeout)
		}
	})
}

func mustParse(t *testing.T, s string) discovery.Target {
	t.Helper()
	target, err := discovery.ParseTarget(s)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func sameTargets(a, b []discovery.Target) bool {
	order := func(in []discovery.Target) []string {
		var out []string
		for _, t := range in {
			out = append(out, t.Addr(0))
		}
		slices.Sort(out)
		return out
	}
	return reflect.DeepEqual(order(a), order(b))
}
