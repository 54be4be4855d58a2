package actor

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
	"unsafe"
)

// fake is a behavior made of functions.
type fake[M any] struct {
	receive func(*Context[M], M) error
	started func(*Context[M]) error
	stopped func(*Context[M])
}

func (f *fake[M]) Receive(ctx *Context[M], m M) error {
	if f.receive == nil {
		return nil
	}
	return f.receive(ctx, m)
}

func (f *fake[M]) Started(ctx *Context[M]) error {
	if f.started == nil {
		return nil
	}
	return f.started(ctx)
}

func (f *fake[M]) Stopped(ctx *Context[M]) {
	if f.stopped != nil {
		f.stopped(ctx)
	}
}

func props[M any](f fake[M]) Props[M] {
	return Props[M]{New: func() Behavior[M] { return &f }}
}

// newSystem is shut down, and must be empty, at the end of the test.
func newSystem(tb testing.TB, cfg Config) *System {
	tb.Helper()
	s, err := NewSystem(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			tb.Error(err)
		}
		if got := s.Actors(); got != 0 {
			tb.Errorf("got %d actors after shutdown, want 0", got)
		}
	})
	return s
}

func mustSpawn[M any](tb testing.TB, s *System, p Props[M]) Ref[M] {
	tb.Helper()
	r, err := Spawn(s, p)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func mustTell[M any](tb testing.TB, r Ref[M], m M) {
	tb.Helper()
	if err := r.Tell(m); err != nil {
		tb.Fatal(err)
	}
}

// log is a list that several goroutines write.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) add(format string, a ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, a...))
}

func (l *log) want(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.lines, want) {
		t.Errorf("got  %q\nwant %q", l.lines, want)
	}
}

func TestMessagesOfOneSenderAreHandledInOrderOneAtATime(t *testing.T) {
	s := newSystem(t, Config{})
	const senders, each = 8, 2000
	last := make([]int, senders) // unguarded on purpose: -race finds two at a time
	r := mustSpawn(t, s, Props[[2]int]{Mailbox: senders * each, New: func() Behavior[[2]int] {
		return &fake[[2]int]{receive: func(_ *Context[[2]int], m [2]int) error {
			if m[1] != last[m[0]]+1 {
				return fmt.Errorf("got %d after %d", m[1], last[m[0]])
			}
			last[m[0]] = m[1]
			return nil
		}}
	}})
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := 1; n <= each; n++ {
				if err := r.Tell([2]int{i, n}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	for i, n := range last {
		if n != each {
			t.Errorf("sender %d: got %d handled, want %d", i, n, each)
		}
	}
}

func TestAFullMailboxRefusesAndNeverBlocks(t *testing.T) {
	s := newSystem(t, Config{})
	entered, gate := make(chan struct{}), make(chan struct{})
	r := mustSpawn(t, s, Props[int]{Mailbox: 3, New: func() Behavior[int] {
		return &fake[int]{receive: func(_ *Context[int], m int) error {
			if m == 0 {
				close(entered)
				<-gate
			}
			return nil
		}}
	}})
	mustTell(t, r, 0)
	<-entered
	for i := range 3 {
		mustTell(t, r, i+1)
	}
	if err := r.Tell(4); !errors.Is(err, ErrMailboxFull) {
		t.Errorf("got %v, want %v", err, ErrMailboxFull)
	}
	if got := r.Queued(); got != 3 {
		t.Errorf("got %d queued, want 3", got)
	}
	close(gate)
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestNilMessagesAreRefused(t *testing.T) {
	s := newSystem(t, Config{})
	for _, err := range []error{
		mustSpawn(t, s, props(fake[any]{})).Tell(nil),
		mustSpawn(t, s, props(fake[error]{})).Tell(nil),
		mustSpawn(t, s, props(fake[*int]{})).Tell(nil),
		mustSpawn(t, s, props(fake[func()]{})).Tell(nil),
		mustSpawn(t, s, props(fake[map[int]int]{})).Tell(nil),
		mustSpawn(t, s, props(fake[chan int]{})).Tell(nil),
	} {
		if !errors.Is(err, ErrNilMessage) {
			t.Errorf("got %v, want %v", err, ErrNilMessage)
		}
	}
	if err := mustSpawn(t, s, props(fake[[]int]{})).Tell(nil); err != nil {
		t.Errorf("a nil slice is an empty one: got %v, want no error", err)
	}
}

func TestStopHandsBackWhatIsQueuedAndCountsIt(t *testing.T) {
	var events, own log
	s := newSystem(t, Config{Events: Events{
		DeadLetter: func(_ string, m any) { events.add("%v", m) },
		Stopped:    func(name string, reason error) { events.add("%s stopped %v", name, reason) },
	}})
	entered, gate := make(chan struct{}), make(chan struct{})
	p := props(fake[int]{
		receive: func(_ *Context[int], m int) error {
			own.add("handled %d", m)
			close(entered)
			<-gate
			return nil
		},
		stopped: func(*Context[int]) { own.add("hook") },
	})
	p.Name = "a"
	p.Undelivered = func(m int) { own.add("undelivered %d", m) }
	p.Stopped = func(reason error) { own.add("stopped %v", reason) }
	r := mustSpawn(t, s, p)
	for i := range 3 {
		mustTell(t, r, i)
	}
	<-entered
	r.Stop()
	if err := r.Tell(9); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v, want %v", err, ErrStopped)
	}
	close(gate)
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	own.want(t, "handled 0", "hook", "undelivered 1", "undelivered 2", "stopped <nil>")
	events.want(t, "1", "2", "a stopped <nil>")
	if got := s.DeadLetters(); got != 2 {
		t.Errorf("got %d dead letters, want 2", got)
	}
	r.Stop() // harmless
	if err := r.Tell(9); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v, want %v", err, ErrStopped)
	}
	if _, err := Spawn(s, p); err != nil {
		t.Errorf("the name is free again: got %v, want no error", err)
	}
}

func TestDrainHandlesAllThatIsQueued(t *testing.T) {
	s := newSystem(t, Config{})
	entered, gate := make(chan struct{}), make(chan struct{})
	var l log
	r := mustSpawn(t, s, props(fake[int]{receive: func(_ *Context[int], m int) error {
		if m == 0 {
			close(entered)
			<-gate
		}
		l.add("%d", m)
		return nil
	}}))
	for i := range 4 {
		mustTell(t, r, i)
	}
	<-entered
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Drain(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if err := r.Tell(5); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v, want %v", err, ErrStopped)
	}
	close(gate)
	if err := r.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.want(t, "0", "1", "2", "3")
	if got := s.DeadLetters(); got != 0 {
		t.Errorf("got %d dead letters, want 0", got)
	}
}

func TestFailuresRestartUpToTheLimitAndThenStop(t *testing.T) {
	boom := errors.New("boom")
	for _, how := range []struct {
		name string
		fail func() error
		want func(error) bool
	}{
		{"error", func() error { return boom }, func(err error) bool { return errors.Is(err, boom) }},
		{"panic", func() error { panic(boom) }, func(err error) bool {
			var p *PanicError
			return errors.As(err, &p) && errors.Is(err, boom) && len(p.Stack) > 0
		}},
		{"goexit", func() error { runtime.Goexit(); return nil }, func(err error) bool { return errors.Is(err, ErrGoexit) }},
	} {
		t.Run(how.name, func(t *testing.T) {
			var l log
			s := newSystem(t, Config{Events: Events{Restarted: func(string, error) { l.add("restarted") }}})
			made := 0
			var reason error
			r := mustSpawn(t, s, Props[string]{
				MaxRestarts: 2,
				New: func() Behavior[string] {
					made++
					life := made
					return &fake[string]{
						started: func(*Context[string]) error { l.add("started %d", life); return nil },
						stopped: func(*Context[string]) { l.add("stopped %d", life) },
						receive: func(_ *Context[string], m string) error {
							l.add("%s %d", m, life)
							if m == "fail" {
								return how.fail()
							}
							return nil
						},
					}
				},
				Stopped: func(err error) { reason = err },
			})
			for _, m := range []string{"fail", "ok", "fail", "ok", "fail", "never"} {
				mustTellOrStopped(t, r, m)
			}
			if err := r.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			l.want(t, "started 1", "fail 1", "restarted", "stopped 1",
				"started 2", "ok 2", "fail 2", "restarted", "stopped 2",
				"started 3", "ok 3", "fail 3", "stopped 3")
			var limit *RestartLimitError
			if !errors.As(reason, &limit) || limit.MaxRestarts != 2 || !how.want(reason) {
				t.Errorf("got reason %v", reason)
			}
			if got := r.Err(); !errors.Is(got, reason) {
				t.Errorf("got Err %v, want %v", got, reason)
			}
		})
	}
}

func mustTellOrStopped[M any](t *testing.T, r Ref[M], m M) {
	t.Helper()
	if err := r.Tell(m); err != nil && !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
}

func TestFailuresOlderThanTheWindowAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSystem(t, Config{})
		p := props(fake[int]{receive: func(*Context[int], int) error { return errors.New("boom") }})
		p.MaxRestarts, p.Within = 1, time.Second
		r := mustSpawn(t, s, p)
		for range 5 {
			mustTell(t, r, 1)
			synctest.Wait()
			<-time.After(time.Second)
		}
		mustTell(t, r, 1)
		synctest.Wait()
		mustTell(t, r, 1)
		synctest.Wait()
		if err := r.Tell(1); !errors.Is(err, ErrStopped) {
			t.Errorf("got %v, want %v", err, ErrStopped)
		}
	})
}

func TestAFailureOfStartedCountsAndItsStopHookIsNotCalled(t *testing.T) {
	var l log
	s := newSystem(t, Config{})
	p := props(fake[int]{
		started: func(*Context[int]) error { l.add("start"); return errors.New("no") },
		stopped: func(*Context[int]) { l.add("hook") },
	})
	p.MaxRestarts = 2
	r := mustSpawn(t, s, p)
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.want(t, "start", "start", "start")
}

func TestPanicsInHooksDoNotKeepAnActorFromEnding(t *testing.T) {
	boom := func() { panic("boom") }
	s := newSystem(t, Config{Events: Events{
		Spawned:    func(string) { boom() },
		Restarted:  func(string, error) { boom() },
		Stopped:    func(string, error) { boom() },
		DeadLetter: func(string, any) { boom() },
	}})
	entered, gate := make(chan struct{}), make(chan struct{})
	p := props(fake[int]{
		receive: func(*Context[int], int) error { close(entered); <-gate; boom(); return nil },
		stopped: func(*Context[int]) { runtime.Goexit() },
	})
	undelivered := 0
	p.Undelivered = func(int) { undelivered++; boom() }
	p.Stopped = func(error) { boom() }
	p.MaxRestarts = 1
	r := mustSpawn(t, s, p)
	for i := range 3 {
		mustTell(t, r, i)
	}
	<-entered
	r.Stop()
	close(gate)
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if undelivered != 2 || s.DeadLetters() != 2 {
		t.Errorf("got %d undelivered and %d dead letters, want 2 and 2", undelivered, s.DeadLetters())
	}
}

func TestSpawnRefusesWhatCannotWork(t *testing.T) {
	s := newSystem(t, Config{})
	_, err := Spawn(s, Props[int]{Mailbox: -1, MaxRestarts: -1, Within: -1})
	for _, want := range []string{"Props.New", "Props.Mailbox", "Props.MaxRestarts", "Props.Within"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	if _, err := Spawn(s, Props[int]{New: func() Behavior[int] { return nil }}); !errors.Is(err, ErrNilBehavior) {
		t.Errorf("got %v, want %v", err, ErrNilBehavior)
	}
	var p *PanicError
	if _, err := Spawn(s, Props[int]{New: func() Behavior[int] { panic("x") }}); !errors.As(err, &p) {
		t.Errorf("got %v, want a PanicError", err)
	}
	named := props(fake[int]{})
	named.Name = "one"
	mustSpawn(t, s, named)
	if _, err := Spawn(s, named); !errors.Is(err, ErrNameTaken) {
		t.Errorf("got %v, want %v", err, ErrNameTaken)
	}
	if got := s.Actors(); got != 1 {
		t.Errorf("got %d actors, want 1", got)
	}
}

// family makes a parent with two children and a grandchild each, and logs how
// they end.
func family(l *log, fail error) Props[string] {
	var at func(depth int) fake[string]
	at = func(depth int) fake[string] {
		return fake[string]{
			started: func(ctx *Context[string]) error {
				if depth == 0 {
					return nil
				}
				for i := range 3 - depth {
					p := props(at(depth - 1))
					p.Name = fmt.Sprint(i)
					if _, err := SpawnChild(ctx, p); err != nil {
						return err
					}
				}
				return nil
			},
			receive: func(*Context[string], string) error { return fail },
			stopped: func(ctx *Context[string]) { l.add("%s", ctx.Name()) },
		}
	}
	p := props(at(2))
	p.Name = "p"
	return p
}

func TestChildrenEndBeforeTheirParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, how := range []string{"stop", "shutdown", "restart"} {
			var l log
			s := newSystem(t, Config{})
			p := family(&l, errors.New("boom"))
			p.MaxRestarts = 1
			r := mustSpawn(t, s, p)
			synctest.Wait()
			if got := s.Actors(); got != 4 {
				t.Fatalf("got %d actors, want 4", got)
			}
			switch how {
			case "stop":
				r.Stop()
			case "shutdown":
				if err := s.Shutdown(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := Spawn(s, props(fake[int]{})); !errors.Is(err, ErrShutdown) {
					t.Errorf("got %v, want %v", err, ErrShutdown)
				}
			case "restart":
				mustTell(t, r, "fail")
			}
			synctest.Wait()
			index := func(name string) int { return slices.Index(l.lines, name) }
			if len(l.lines) != 4 || index("p") != 3 || index("p/0/0") > index("p/0") || index("p/1/0") > index("p/1") {
				t.Errorf("%s: got %q, want children first", how, l.lines)
			}
			want := 0
			if how == "restart" {
				want = 4
			}
			if got := s.Actors(); got != want {
				t.Errorf("%s: got %d actors, want %d", how, got, want)
			}
		}
	})
}

func TestShutdownSaysWhatIsLeftAndMayBeRepeated(t *testing.T) {
	s := newSystem(t, Config{})
	entered, gate := make(chan struct{}), make(chan struct{})
	r := mustSpawn(t, s, props(fake[int]{receive: func(*Context[int], int) error { close(entered); <-gate; return nil }}))
	mustTell(t, r, 1)
	<-entered
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("impatient"))
	err := s.Shutdown(ctx)
	if err == nil || !strings.Contains(err.Error(), "left 1 actors running: impatient") {
		t.Errorf("got %v", err)
	}
	close(gate)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestShutdownAndSpawnMayRace(t *testing.T) {
	for range 50 {
		s := newSystem(t, Config{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					r, err := Spawn(s, props(fake[int]{started: func(ctx *Context[int]) error {
						_, err := SpawnChild(ctx, props(fake[string]{}))
						return err
					}}))
					if err != nil {
						return
					}
					_ = r.Tell(1)
				}
			})
		}
		runtime.Gosched()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if got := s.Actors(); got != 0 {
			t.Errorf("got %d actors, want 0", got)
		}
	}
}

func TestNoParentMissesTheEndOfItsLastChild(t *testing.T) {
	s := newSystem(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for range 10_000 {
		started := make(chan error, 1)
		r := mustSpawn(t, s, props(fake[int]{started: func(ctx *Context[int]) error {
			_, err := SpawnChild(ctx, props(fake[string]{}))
			started <- err
			return err
		}}))
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		r.Stop()
		if err := r.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnActorStoppedBeforeItStartedRunsNeitherHook(t *testing.T) {
	var l log
	s := newSystem(t, Config{})
	p := props(fake[int]{
		started: func(*Context[int]) error { l.add("started"); return nil },
		stopped: func(*Context[int]) { l.add("stopped") },
	})
	c := newCell(s, p.withDefaults(), p.New())
	if !s.link(&s.root, &c.node) {
		t.Fatal("got no link")
	}
	c.stop() // what a shutdown does in the middle of a spawn
	mk := newMaker()
	mk.cell = c
	if _, err := s.proto.Root.SpawnNamed(mk.props, "early"); err != nil {
		t.Fatal(err)
	}
	if err := (Ref[int]{c}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.want(t)
}

func TestARefIsComparableAndTheZeroOneIsStopped(t *testing.T) {
	s := newSystem(t, Config{})
	var self Ref[int]
	r := mustSpawn(t, s, props(fake[int]{receive: func(ctx *Context[int], _ int) error { self = ctx.Self(); ctx.Stop(); return nil }}))
	mustTell(t, r, 1)
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if self != r || map[Ref[int]]bool{r: true}[self] != true {
		t.Error("got another Ref from the context")
	}
	var zero Ref[int]
	zero.Stop()
	if err := zero.Tell(1); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v, want %v", err, ErrStopped)
	}
	if err := zero.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOnlyWarningsOfProtoactorReachTheLogger(t *testing.T) {
	var out bytes.Buffer
	s := newSystem(t, Config{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	l := s.proto.Logger()
	l.With(slog.String("k", "v")).Info("noise")
	l.WithGroup("g").Info("noise")
	l.Warn("signal")
	if got := out.String(); strings.Contains(got, "noise") || strings.Contains(got, "started") || !strings.Contains(got, "signal") {
		t.Errorf("got %q, want the warning only", got)
	}
}

func TestEveryWaiterWakes(t *testing.T) {
	s := newSystem(t, Config{})
	r := mustSpawn(t, s, props(fake[int]{}))
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := r.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	r.Stop()
	wg.Wait()
	<-r.Done()
}

func TestAnIdleActorStaysSmall(t *testing.T) {
	// With protoactor's own parts and its place in the process table this is 450
	// bytes an actor, see BenchmarkIdle.
	if got, most := unsafe.Sizeof(cell[*int]{}), uintptr(176); got > most {
		t.Errorf("got a cell of %d bytes, want at most %d", got, most)
	}
	s := newSystem(t, Config{})
	entered := make(chan struct{})
	r := mustSpawn(t, s, props(fake[int]{receive: func(_ *Context[int], m int) error {
		if m == 99 {
			close(entered)
		}
		return nil
	}}))
	for i := range 100 {
		mustTell(t, r, i)
	}
	<-entered
	for !idleNow(r) {
		runtime.Gosched()
	}
	if q := r.c.queue; q != nil && cap(q.in)+cap(q.out) > 2*keepEntries {
		t.Errorf("got an idle actor that keeps %d and %d entries, want at most %d", cap(q.in), cap(q.out), keepEntries)
	}
}

func idleNow[M any](r Ref[M]) bool {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	return r.c.flags.Load()&flagScheduled == 0
}
