package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/httpapi"
)

// said is a report in one line.
func said(r httpapi.Report) string {
	out := []string{r.Status}
	for _, why := range r.Reasons {
		out = append(out, why.Check+"="+why.Message)
	}
	return strings.Join(out, " ")
}

func TestWithoutGatesAndChecksANodeIsHealthy(t *testing.T) {
	h := httpapi.NewHealth(httpapi.HealthConfig{})
	for _, kind := range []httpapi.Kind{httpapi.Startup, httpapi.Alive, httpapi.Ready} {
		if got := said(h.Ask(t.Context(), kind)); got != "ok" {
			t.Errorf("%s got %q, want ok", kind, got)
		}
	}
}

func TestReadyWaitsForEveryGate(t *testing.T) {
	h := httpapi.NewHealth(httpapi.HealthConfig{})
	port := h.Gate("port", "not bound")
	joined := h.Gate("cluster", "not joined")
	check := func(ready, startup string) {
		t.Helper()
		if got := said(h.Ask(t.Context(), httpapi.Ready)); got != ready {
			t.Errorf("ready got %q, want %q", got, ready)
		}
		if got := said(h.Ask(t.Context(), httpapi.Startup)); got != startup {
			t.Errorf("startup got %q, want %q", got, startup)
		}
		if got := said(h.Ask(t.Context(), httpapi.Alive)); got != "ok" {
			t.Errorf("alive got %q, want ok: gates do not concern it", got)
		}
	}
	both := "unavailable cluster=not joined port=not bound"
	check(both, both)
	joined.Open()
	check("unavailable port=not bound", "unavailable port=not bound")
	port.Set("")
	check("ok", "ok")
	joined.Close("session lost")
	check("unavailable cluster=session lost", "ok") // it has started
	joined.Set("draining")
	check("unavailable cluster=draining", "ok")
}

func TestAGateRemembersSinceWhenItIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := httpapi.NewHealth(httpapi.HealthConfig{})
		g := h.Gate("cluster", "")
		since := func() time.Time { return h.Ask(t.Context(), httpapi.Ready).Reasons[0].Since }
		start := time.Now()
		<-time.After(time.Second)
		g.Close("another reason")
		if got := since(); !got.Equal(start) {
			t.Errorf("since got %v, want the start: another reason does not make it younger", got)
		}
		g.Open()
		<-time.After(time.Second)
		g.Close("again")
		if got := since().Sub(start); got != 2*time.Second {
			t.Errorf("since got %v after the start, want 2s", got)
		}
	})
}

func TestChecksRunInParallelAndSayWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := httpapi.NewHealth(httpapi.HealthConfig{})
		for _, name := range []string{"b", "a", "c"} {
			add(t, h, httpapi.Ready, name, func(context.Context) error {
				<-time.After(600 * time.Millisecond)
				if name == "c" {
					return nil
				}
				return fmt.Errorf("%s is down", name)
			})
		}
		add(t, h, httpapi.Alive, "other kind", func(context.Context) error { return errors.New("x") })
		start := time.Now()
		if got, want := said(h.Ask(t.Context(), httpapi.Ready)), "unavailable a=a is down b=b is down"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if took := time.Since(start); took != 600*time.Millisecond {
			t.Errorf("took %v, want 600ms: checks run in parallel", took)
		}
	})
}

func TestACheckRemembersSinceWhenItFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := httpapi.NewHealth(httpapi.HealthConfig{})
		var err error
		add(t, h, httpapi.Ready, "store", func(context.Context) error { return err })
		h.Ask(t.Context(), httpapi.Ready)
		<-time.After(time.Minute)
		err = errors.New("down")
		failed := time.Now()
		for range 3 {
			if got := h.Ask(t.Context(), httpapi.Ready).Reasons[0].Since; !got.Equal(failed) {
				t.Errorf("since got %v, want %v", got, failed)
			}
			<-time.After(time.Minute)
		}
	})
}

func TestAHangingCheckIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := httpapi.NewHealth(httpapi.HealthConfig{CheckTimeout: 2 * time.Second})
		release := make(chan struct{})
		add(t, h, httpapi.Ready, "rude", func(context.Context) error { <-release; return nil })
		add(t, h, httpapi.Ready, "polite", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		start := time.Now()
		got := said(h.Ask(t.Context(), httpapi.Ready))
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("took %v, want 2s", took)
		}
		if !strings.Contains(got, "rude=no answer after 2s") || !strings.Contains(got, "polite=no answer") {
			t.Errorf("got %q, want both checks", got)
		}
		<-time.After(3 * time.Second)
		if why := h.Ask(t.Context(), httpapi.Ready).Reasons; !why[1].Since.Equal(start) || why[1].Message != "no answer after 7s" {
			t.Errorf("asked again got %+v, want it to count from the start", why)
		}
		close(release)
	})
}

func TestChecksRunOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := httpapi.NewHealth(httpapi.HealthConfig{})
		var runs atomic.Int32
		add(t, h, httpapi.Ready, "store", func(context.Context) error {
			runs.Add(1)
			<-time.After(100 * time.Millisecond)
			return errors.New("down")
		})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if got := said(h.Ask(t.Context(), httpapi.Ready)); got != "unavailable store=down" {
					t.Errorf("got %q", got)
				}
			})
		}
		// one that leaves early takes nothing away from the others
		gone, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		h.Ask(gone, httpapi.Ready)
		wg.Wait()
		if got := runs.Load(); got != 1 {
			t.Errorf("got %d runs, want 1 for all", got)
		}
	})
}

func TestACheckThatPanicsHasFailed(t *testing.T) {
	h := httpapi.NewHealth(httpapi.HealthConfig{})
	add(t, h, httpapi.Alive, "bug", func(context.Context) error { panic("boom") })
	for range 2 {
		if got, want := said(h.Ask(t.Context(), httpapi.Alive)), "unavailable bug=the check panicked: boom"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestChecksThatDoNotFitAreErrors(t *testing.T) {
	h := httpapi.NewHealth(httpapi.HealthConfig{})
	ok := func(context.Context) error { return nil }
	for i := range 64 {
		add(t, h, httpapi.Ready, fmt.Sprint(i), ok)
	}
	for name, err := range map[string]error{
		"taken":    h.AddCheck(httpapi.Ready, "5", ok),
		"too many": h.AddCheck(httpapi.Ready, "65", ok),
		"no name":  h.AddCheck(httpapi.Alive, "", ok),
		"no func":  h.AddCheck(httpapi.Alive, "x", nil),
		"no kind":  h.AddCheck("healthy", "x", ok),
	} {
		if err == nil {
			t.Errorf("%s: got nil, want an error", name)
		}
	}
}

func TestChangesAreLoggedOnce(t *testing.T) {
	var log recorder
	h := httpapi.NewHealth(httpapi.HealthConfig{Logger: slog.New(&log)})
	g := h.Gate("cluster", "not joined")
	for range 3 {
		h.Ask(t.Context(), httpapi.Ready)
	}
	g.Open()
	for range 3 {
		h.Ask(t.Context(), httpapi.Ready)
	}
	want := []string{"health changed question=ready status=unavailable reason=cluster: not joined", "health changed question=ready status=ok reason="}
	if !slices.Equal(log.lines, want) {
		t.Errorf("got %q, want %q", log.lines, want)
	}
}

// recorder is a log handler that keeps lines.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *recorder) WithGroup(string) slog.Handler            { return r }
func (r *recorder) Handle(_ context.Context, rec slog.Record) error {
	line := rec.Message
	rec.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	return nil
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

func add(t *testing.T, h *httpapi.Health, kind httpapi.Kind, name string, check func(context.Context) error) {
	t.Helper()
	if err := h.AddCheck(kind, name, check); err != nil {
		t.Fatal(err)
	}
}
