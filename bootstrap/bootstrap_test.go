package bootstrap_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/bootstrap"
	"github.com/holdfast-go/holdfast/bootstrap/discovery"
	"github.com/holdfast-go/holdfast/bootstrap/discovery/static"
	"github.com/holdfast-go/holdfast/cluster/member"
)

// world is a network of management servers in memory, and the one cluster that
// can be formed in it.
type world struct {
	t          *testing.T
	mu         sync.Mutex
	handlers   map[string]http.Handler // by management host:port
	generation uint64
	members    []bootstrap.Seed
	log        []string // what joiners did
	discover   func(ctx context.Context, call int) ([]discovery.Target, error)
	calls      []time.Duration // when discovery was asked
	start      time.Time
}

func newWorld(t *testing.T, nodes ...int) *world {
	t.Helper()
	w := &world{t: t, handlers: map[string]http.Handler{}, start: time.Now()}
	w.discover = func(context.Context, int) ([]discovery.Target, error) {
		var out []discovery.Target
		for _, n := range nodes {
			target, err := discovery.ParseTarget(fmt.Sprintf("10.0.0.%d", n))
			if err != nil {
				return nil, err
			}
			out = append(out, target)
		}
		return out, nil
	}
	for _, n := range nodes {
		w.serve(n)
	}
	return w
}

// serve puts up the management server of node n.
func (w *world) serve(n int) {
	h := bootstrap.SeedNodesHandler(func() bootstrap.SeedNodes {
		w.mu.Lock()
		defer w.mu.Unlock()
		a := bootstrap.SeedNodes{Self: bootstrap.Contact{ID: id(n), Addr: addr(n), Management: point(n).Addr()}, Cluster: "bank"}
		if slices.ContainsFunc(w.members, func(s bootstrap.Seed) bool { return s.ID == id(n) }) {
			a.Generation, a.SeedNodes = w.generation, slices.Clone(w.members)
		}
		return a
	})
	w.handle(n, h)
}

func (w *world) handle(n int, h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handlers[point(n).Addr()] = h
}

// RoundTrip implements http.RoundTripper.
func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	h, ok := w.handlers[r.URL.Host]
	w.mu.Unlock()
	if !ok {
		return nil, errors.New("connection refused")
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return rec.Result(), nil
}

// Discover implements discovery.Discovery.
func (w *world) Discover(ctx context.Context) ([]discovery.Target, error) {
	w.mu.Lock()
	w.calls = append(w.calls, time.Since(w.start))
	n := len(w.calls)
	w.mu.Unlock()
	return w.discover(ctx, n)
}

// joiner is the cluster as node n sees it.
type joiner struct {
	w          *world
	n          int
	join, form func(ctx context.Context) error // faults
}

func (j *joiner) Join(ctx context.Context, addrs []string) error {
	if j.join != nil {
		if err := j.join(ctx); err != nil {
			return err
		}
	}
	return j.enter("join " + strings.Join(addrs, ","))
}

func (j *joiner) Form(ctx context.Context) error {
	if j.form != nil {
		if err := j.form(ctx); err != nil {
			return err
		}
	}
	j.w.mu.Lock()
	claimed := j.w.generation > 0
	if !claimed {
		j.w.generation = 1
	}
	j.w.mu.Unlock()
	if claimed {
		return fmt.Errorf("generation 1 exists: %w", bootstrap.ErrClaimed)
	}
	return j.enter("form")
}

func (j *joiner) enter(how string) error {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	j.w.members = append(j.w.members, bootstrap.Seed{ID: id(j.n), Addr: addr(j.n), Status: "up"})
	j.w.log = append(j.w.log, fmt.Sprintf("%d %s", j.n, how))
	return nil
}

// conf is the configuration of node n.
func (w *world) conf(n int) bootstrap.Config {
	return bootstrap.Config{
		Node: member.Node{ID: id(n), Addr: addr(n)}, Cluster: "bank", Management: point(n).Addr(),
		Discovery: w, Transport: w, Logger: slog.New(slog.DiscardHandler),
	}
}

func (w *world) bootstrap(c bootstrap.Config) *bootstrap.Bootstrap {
	w.t.Helper()
	b, err := bootstrap.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func TestNodesThatStartTogetherFormOneCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2, 3, 4)
		var wg sync.WaitGroup
		for _, n := range []int{4, 2, 1, 3} {
			b := w.bootstrap(w.conf(n))
			wg.Go(func() {
				if err := b.Run(t.Context(), &joiner{w: w, n: n}); err != nil {
					t.Errorf("node %d: %v", n, err)
				}
				if last := b.Last(); last.Action == bootstrap.KeepProbing {
					t.Errorf("node %d: last decision got %+v, want join or form", n, last)
				}
			})
		}
		wg.Wait()
		took := time.Since(w.start)
		if w.log[0] != "1 form" || len(w.log) != 4 {
			t.Errorf("got %v, want node 1 to form and three to join", w.log)
		}
		if took < 5*time.Second || took > 7*time.Second {
			t.Errorf("took %v, want about the margin of 5s", took)
		}
	})
}

// The same over real connections, with the addresses in a static list.
func TestNodesFormOneClusterOverHTTP(t *testing.T) {
	w := &world{t: t, handlers: map[string]http.Handler{}, start: time.Now()}
	const n = 3
	servers := make([]*httptest.Server, n)
	var targets []string
	for i := range n {
		servers[i] = httptest.NewUnstartedServer(nil)
		servers[i].Config.Handler = bootstrap.SeedNodesHandler(func() bootstrap.SeedNodes {
			w.mu.Lock()
			defer w.mu.Unlock()
			a := bootstrap.SeedNodes{Self: bootstrap.Contact{ID: id(i), Addr: addr(i), Management: servers[i].Listener.Addr().String()}, Cluster: "bank"}
			if slices.ContainsFunc(w.members, func(s bootstrap.Seed) bool { return s.ID == id(i) }) {
				a.Generation, a.SeedNodes = w.generation, slices.Clone(w.members)
			}
			return a
		})
		servers[i].Start()
		defer servers[i].Close()
		targets = append(targets, servers[i].Listener.Addr().String())
	}
	lowest := slices.Index(targets, slices.MinFunc(targets, member.CompareAddr))
	var wg sync.WaitGroup
	for i := range n {
		d, err := static.Parse(targets...)
		if err != nil {
			t.Fatal(err)
		}
		b := w.bootstrap(bootstrap.Config{
			Node: member.Node{ID: id(i), Addr: addr(i)}, Cluster: "bank", Management: targets[i], Discovery: d, ProbeInterval: 50 * time.Millisecond,
			Settings: bootstrap.Settings{RequiredContactPoints: n, StableMargin: 200 * time.Millisecond},
		})
		wg.Go(func() {
			if err := b.Run(t.Context(), &joiner{w: w, n: i}); err != nil {
				t.Errorf("node %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if want := fmt.Sprintf("%d form", lowest); len(w.log) != n || w.log[0] != want {
		t.Errorf("got %v, want %q first and then two that join", w.log, want)
	}
}

func TestAShortMarginIsNotRoundedUpToAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		c := w.conf(1)
		c.Settings = bootstrap.Settings{RequiredContactPoints: 1, StableMargin: 300 * time.Millisecond}
		if err := w.bootstrap(c).Run(t.Context(), &joiner{w: w, n: 1}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(w.start); took < 300*time.Millisecond || took > 310*time.Millisecond {
			t.Errorf("took %v, want 300ms", took)
		}
	})
}

func TestARunningClusterIsJoinedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2, 3)
		if err := (&joiner{w: w, n: 2}).Form(t.Context()); err != nil {
			t.Fatal(err)
		}
		// node 3 hangs: its probe must not hold up the others
		w.handle(3, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		if err := w.bootstrap(w.conf(1)).Run(t.Context(), &joiner{w: w, n: 1}); err != nil {
			t.Fatal(err)
		}
		if want := []string{"2 form", "1 join " + addr(2)}; !slices.Equal(w.log, want) {
			t.Errorf("got %v, want %v", w.log, want)
		}
		if took := time.Since(w.start); took > 300*time.Millisecond {
			t.Errorf("took %v, want only the grace period of 250ms for the node that hangs", took)
		}
	})
}

func TestDiscoveryBacksOffAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		works := w.discover
		w.discover = func(ctx context.Context, call int) ([]discovery.Target, error) {
			switch {
			case call <= 2:
				return nil, errors.New("throttled")
			case call == 3: // hangs
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return works(ctx, call)
		}
		c := w.conf(1)
		c.ProbeJitter = -1
		if err := w.bootstrap(c).Run(t.Context(), &joiner{w: w, n: 1}); err != nil {
			t.Fatal(err)
		}
		// 0 s fails, 2 s later fails, 4 s later hangs for 3 s, 8 s later works
		want := []time.Duration{0, 2 * time.Second, 6 * time.Second, 17 * time.Second, 18 * time.Second}
		if len(w.calls) < 5 || !slices.Equal(w.calls[:5], want) {
			t.Errorf("discovery was asked at %v, want %v ...", w.calls, want)
		}
	})
}

func TestThePauseBetweenFailedDiscoveriesIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.discover = func(context.Context, int) ([]discovery.Target, error) { return nil, errors.New("access denied") }
		c := w.conf(1)
		c.ProbeJitter = -1
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := w.bootstrap(c).Run(ctx, &joiner{w: w, n: 1})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "access denied") {
			t.Errorf("got %v, want a deadline with the cause", err)
		}
		if last := w.calls[len(w.calls)-1] - w.calls[len(w.calls)-2]; last != 15*time.Second {
			t.Errorf("the last pause got %v, want 15s: %v", last, w.calls)
		}
	})
}

func TestAForgottenContactPointStaysWhileItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		both := w.discover
		w.discover = func(ctx context.Context, call int) ([]discovery.Target, error) {
			out, err := both(ctx, call)
			if call > 2 { // forgets the lower one
				out = out[1:]
			}
			return out, err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		c := w.conf(2)
		c.Settings.RequiredContactPoints = 1
		b := w.bootstrap(c)
		err := b.Run(ctx, &joiner{w: w, n: 2})
		if err == nil || b.Last().Cause != bootstrap.NotLowest {
			t.Errorf("got %v by %s, want node 2 to wait for node 1, which answers", err, b.Last().Cause)
		}
		// when it is silent too it is gone, and node 2 forms after the margin
		w.mu.Lock()
		delete(w.handlers, point(1).Addr())
		w.mu.Unlock()
		w.calls = nil
		if err := w.bootstrap(c).Run(t.Context(), &joiner{w: w, n: 2}); err != nil {
			t.Error(err)
		}
	})
}

func TestALostClaimLeadsToJoining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		// node 3 is out of sight of discovery, and forms first
		if err := (&joiner{w: w, n: 3}).Form(t.Context()); err != nil {
			t.Fatal(err)
		}
		b := w.bootstrap(w.conf(1))
		done := make(chan error, 1)
		claims := 0
		j := &joiner{w: w, n: 1, form: func(context.Context) error { claims++; return nil }}
		go func() { done <- b.Run(t.Context(), j) }()
		<-time.After(9 * time.Second) // virtual time: past one margin, and not two
		synctest.Wait()
		if claims != 1 {
			t.Errorf("tried to claim %d times within a margin, want once", claims)
		}
		if last := b.Last(); last.Action != bootstrap.KeepProbing || last.Cause != bootstrap.NotStable {
			t.Errorf("after the claim was lost got %+v, want it to wait for a margin again", last)
		}
		w.mu.Lock()
		w.members = append(w.members, bootstrap.Seed{ID: id(2), Addr: addr(2), Status: "up"})
		w.mu.Unlock()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := w.log[len(w.log)-1]; got != "1 join "+addr(2)+","+addr(3) {
			t.Errorf("got %q, want node 1 to join nodes 2 and 3", got)
		}
	})
}

// refusal is what package cluster returns when settings differ.
type refusal struct{ final bool }

func (r *refusal) Error() string { return "shard count differs" }
func (r *refusal) Final() bool   { return r.final }

func TestAFinalRefusalEndsBootstrap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		if err := (&joiner{w: w, n: 2}).Form(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := &refusal{final: true}
		err := w.bootstrap(w.conf(1)).Run(t.Context(), &joiner{w: w, n: 1, join: func(context.Context) error { return fmt.Errorf("join: %w", want) }})
		var got *refusal
		if !errors.As(err, &got) || !strings.Contains(err.Error(), "for good") {
			t.Errorf("got %v, want the refusal", err)
		}
	})
}

func TestOtherFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		if err := (&joiner{w: w, n: 2}).Form(t.Context()); err != nil {
			t.Fatal(err)
		}
		tries := 0
		err := w.bootstrap(w.conf(1)).Run(t.Context(), &joiner{w: w, n: 1, join: func(ctx context.Context) error {
			tries++
			switch tries {
			case 1:
				return errors.New("no leader")
			case 2:
				return &refusal{final: false}
			case 3: // hangs: the attempt has a deadline
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}})
		if err != nil || tries != 4 {
			t.Errorf("got %v after %d tries, want nil after 4", err, tries)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails when a goroutine is left behind
		w := newWorld(t, 1, 2)
		w.handle(2, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		ctx, cancel := context.WithCancelCause(t.Context())
		b := w.bootstrap(w.conf(1))
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx, &joiner{w: w, n: 1}) }()
		<-time.After(3200 * time.Millisecond) // virtual time: in the middle of a round
		stopped := errors.New("task is stopping")
		cancel(stopped)
		synctest.Wait()
		select {
		case err := <-done:
			if !errors.Is(err, stopped) || !strings.Contains(err.Error(), "1 of at least 2 nodes") {
				t.Errorf("got %v, want the cause and what it was waiting for", err)
			}
		default:
			t.Error("Run() did not end with its context")
		}
	})
}
