package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind of a health question.
type Kind string

// Kinds. The texts are the paths of the questions.
const (
	// Startup: has the node finished starting?
	Startup Kind = "startup"
	// Alive: should the process go on, or be replaced?
	Alive Kind = "alive"
	// Ready: should a load balancer send requests to this node now?
	Ready Kind = "ready"
)

// maxChecks bounds the checks of a kind.
const maxChecks = 64

// Reason says why a node is not healthy.
type Reason struct {
	// Check is the name of the check or gate.
	Check   string `json:"check"`
	Message string `json:"message"`
	// Since is when it began to fail, as far as anybody has asked.
	Since time.Time `json:"since"`
}

// Report is the answer to a health question.
type Report struct {
	// Status is "ok" or "unavailable".
	Status string `json:"status"`
	// Reasons are empty when Status is "ok"; otherwise in order of check.
	Reasons []Reason `json:"reasons"`
}

// HealthConfig configures a [Health].
type HealthConfig struct {
	// CheckTimeout bounds one run of a check. Defaults to 1 s.
	CheckTimeout time.Duration
	// Logger gets each change of an answer. Defaults to one that discards.
	Logger *slog.Logger
}

// Health answers whether a node has started, should live, and is ready. Gates
// are set by those who know; checks are run when somebody asks.
type Health struct {
	timeout time.Duration
	log     *slog.Logger
	running sync.WaitGroup

	mu     sync.Mutex
	gates  []*Gate
	checks map[Kind][]*check
	last   map[Kind]string // status of the last answer
}

// NewHealth returns a Health without gates and checks: it answers ok.
func NewHealth(c HealthConfig) *Health {
	h := &Health{timeout: c.CheckTimeout, log: c.Logger, checks: map[Kind][]*check{}, last: map[Kind]string{}}
	if h.timeout <= 0 {
		h.timeout = time.Second
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	return h
}

// Gate is one condition of readiness, closed until somebody opens it.
type Gate struct {
	name string
	mu   sync.Mutex
	// closed says why, "" when the gate is open
	closed string
	since  time.Time
	opened bool // at least once
}

// Gate adds a closed gate; reason says what it waits for. The node is not ready
// while any gate is closed, and has not started until each has been open once.
func (h *Health) Gate(name, reason string) *Gate {
	g := &Gate{name: name, closed: cmp.Or(reason, "closed"), since: time.Now()}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gates = append(h.gates, g)
	return g
}

// Open opens the gate.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.opened = "", true
}

// Close closes the gate, or gives a closed one another reason.
func (g *Gate) Close(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed == "" {
		g.since = time.Now()
	}
	g.closed = cmp.Or(reason, "closed")
}

// Set opens the gate when reason is "", and closes it with reason otherwise.
func (g *Gate) Set(reason string) {
	if reason == "" {
		g.Open()
		return
	}
	g.Close(reason)
}

// state returns why the gate is closed, and whether it has ever been open.
func (g *Gate) state() (r Reason, closed, opened bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Reason{Check: g.name, Message: g.closed, Since: g.since}, g.closed != "", g.opened
}

// check is a function that is asked, and what it last said.
type check struct {
	name string
	run  func(ctx context.Context) error

	mu    sync.Mutex
	now   *result // the run under way, nil when there is none
	since time.Time
}

// result of one run; err is set before done is closed.
type result struct {
	done    chan struct{}
	started time.Time
	err     error
}

// AddCheck adds a check: nil means healthy. It is called when somebody asks, at
// most once at a time, with a context that ends after CheckTimeout, and must
// return then. A name that is taken, or more than 64 checks, is an error.
func (h *Health) AddCheck(kind Kind, name string, run func(ctx context.Context) error) error {
	if kind != Startup && kind != Alive && kind != Ready {
		return fmt.Errorf("httpapi: check %q has kind %q: use startup, alive or ready", name, kind)
	}
	if name == "" || run == nil {
		return fmt.Errorf("httpapi: %s check %q needs a name and a function", kind, name)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.ContainsFunc(h.checks[kind], func(c *check) bool { return c.name == name }) {
		return fmt.Errorf("httpapi: there is a %s check %q already: give it another name", kind, name)
	}
	if len(h.checks[kind]) == maxChecks {
		return fmt.Errorf("httpapi: %s check %q is one more than %d", kind, name, maxChecks)
	}
	h.checks[kind] = append(h.checks[kind], &check{name: name, run: run})
	return nil
}

// Ask answers a question. It runs the checks in parallel and returns within
// CheckTimeout, or when ctx ends.
func (h *Health) Ask(ctx context.Context, kind Kind) Report {
	h.mu.Lock()
	checks := slices.Clone(h.checks[kind])
	gates := slices.Clone(h.gates)
	h.mu.Unlock()

	report := Report{Status: "ok", Reasons: []Reason{}}
	for _, g := range gates {
		why, closed, opened := g.state()
		if kind == Ready && closed || kind == Startup && !opened {
			report.Reasons = append(report.Reasons, why)
		}
	}
	asked := ctx
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	results := make([]*result, len(checks))
	for i, c := range checks {
		results[i] = h.start(ctx, c)
	}
	for i, c := range checks {
		if why := c.reason(ctx, results[i]); why != nil {
			report.Reasons = append(report.Reasons, *why)
		}
	}
	if len(report.Reasons) > 0 {
		report.Status = "unavailable"
		slices.SortStableFunc(report.Reasons, func(a, b Reason) int { return cmp.Compare(a.Check, b.Check) })
	}
	if asked.Err() == nil { // else nobody waited for the checks
		h.note(asked, kind, report)
	}
	return report
}

// start runs a check, unless it is running: then its result is shared. It does
// not end with the request that started it, because others may wait for it.
func (h *Health) start(ctx context.Context, c *check) *result {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now != nil {
		return c.now
	}
	res := &result{done: make(chan struct{}), started: time.Now()}
	c.now = res
	h.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.timeout)
		defer cancel()
		err := call(ctx, c.run)
		c.mu.Lock()
		defer c.mu.Unlock()
		res.err, c.now = err, nil
		switch {
		case err == nil:
			c.since = time.Time{}
		case c.since.IsZero():
			c.since = res.started
		}
		close(res.done)
	})
	return res
}

// call runs a check; one that panics has failed.
func call(ctx context.Context, run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the check panicked: %v", p)
		}
	}()
	return run(ctx)
}

// reason waits for a run and says why it failed, nil when it did not.
func (c *check) reason(ctx context.Context, res *result) *Reason {
	select {
	case <-res.done:
	case <-ctx.Done():
		select {
		case <-res.done: // both were ready
		default:
			return &Reason{Check: c.name, Message: fmt.Sprintf("no answer after %v", time.Since(res.started).Round(time.Millisecond)), Since: c.failingSince(res.started)}
		}
	}
	switch {
	case res.err == nil:
		return nil
	case errors.Is(res.err, context.DeadlineExceeded):
		return &Reason{Check: c.name, Message: "no answer in time: " + res.err.Error(), Since: c.failingSince(res.started)}
	}
	return &Reason{Check: c.name, Message: res.err.Error(), Since: c.failingSince(res.started)}
}

// failingSince is when the check began to fail; fallback when it just did.
func (c *check) failingSince(fallback time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		return fallback
	}
	return c.since
}

// note logs an answer that differs from the one before.
func (h *Health) note(ctx context.Context, kind Kind, r Report) {
	h.mu.Lock()
	changed := h.last[kind] != r.Status
	h.last[kind] = r.Status
	h.mu.Unlock()
	if !changed {
		return
	}
	var reasons []string
	for _, why := range r.Reasons {
		reasons = append(reasons, why.Check+": "+why.Message)
	}
	h.log.InfoContext(ctx, "health changed", slog.String("question", string(kind)), slog.String("status", r.Status), slog.String("reason", strings.Join(reasons, "; ")))
}

// wait returns when no check runs any more, or when ctx ends.
func (h *Health) wait(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		h.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// handler answers a question over HTTP: 200 or 503.
func (h *Health) handler(kind Kind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		report := h.Ask(r.Context(), kind)
		status := http.StatusOK
		if report.Status != "ok" {
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "1")
		}
		for i := range report.Reasons {
			report.Reasons[i].Since = report.Reasons[i].Since.UTC().Truncate(time.Millisecond)
		}
		WriteJSON(w, status, report)
	}
}
