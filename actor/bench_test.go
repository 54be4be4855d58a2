package actor

import (
	"runtime"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
)

// Each benchmark runs ours and bare protoactor in turn, so that one run compares
// them on one machine:
//
//	go test -run '^$' -bench . ./actor

// counter stops its round after limit messages.
type counter struct {
	n, limit int
	done     chan struct{}
}

func (c *counter) count() {
	if c.n++; c.n == c.limit {
		close(c.done)
	}
}

func (c *counter) Receive(_ *Context[*int], _ *int) error { c.count(); return nil }

func BenchmarkTell(b *testing.B) {
	m := new(int)
	b.Run("holdfast", func(b *testing.B) {
		b.ReportAllocs()
		s := newSystem(b, Config{})
		c := &counter{limit: b.N, done: make(chan struct{})}
		r := mustSpawn(b, s, Props[*int]{Mailbox: MaxMailbox, New: func() Behavior[*int] { return c }})
		b.ResetTimer()
		for range b.N {
			for r.Tell(m) != nil {
				runtime.Gosched()
			}
		}
		<-c.done
	})
	b.Run("protoactor", func(b *testing.B) {
		b.ReportAllocs()
		s := newSystem(b, Config{}).proto
		c := &counter{limit: b.N, done: make(chan struct{})}
		pid := s.Root.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
			if _, ok := ctx.Message().(*int); ok {
				c.count()
			}
		}))
		b.ResetTimer()
		for range b.N {
			s.Root.Send(pid, m)
		}
		<-c.done
	})
}

type echo struct{}

func (echo) Receive(_ *Context[question], q question) error { q.reply(q.n, nil); return nil }

func BenchmarkAsk(b *testing.B) {
	b.Run("holdfast", func(b *testing.B) {
		b.ReportAllocs()
		s := newSystem(b, Config{})
		r := mustSpawn(b, s, Props[question]{New: func() Behavior[question] { return echo{} }})
		ctx := b.Context()
		b.ResetTimer()
		for n := range b.N {
			if got, err := ask1(ctx, r, n); err != nil || got != n {
				b.Fatal(got, err)
			}
		}
	})
	b.Run("protoactor", func(b *testing.B) {
		b.ReportAllocs()
		s := newSystem(b, Config{}).proto
		pid := s.Root.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
			if n, ok := ctx.Message().(int); ok {
				ctx.Respond(n)
			}
		}))
		b.ResetTimer()
		for n := range b.N {
			if got, err := s.Root.RequestFuture(pid, n, time.Minute).Result(); err != nil || got != n {
				b.Fatal(got, err)
			}
		}
	})
}

// state is a behavior of the size of a pointer.
type state struct{ _ *int }

func (*state) Receive(*Context[*int], *int) error { return nil }

const idle = 500_000

// heap is what is alive.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkIdle tells the bytes that an actor keeps: never told anything, told
// one message, and as a child.
func BenchmarkIdle(b *testing.B) {
	p := Props[*int]{New: func() Behavior[*int] { return &state{} }}
	run := func(name string, spawn func(*testing.B, *System, []Ref[*int])) {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				s := newSystem(b, Config{})
				refs := make([]Ref[*int], idle)
				before := heap()
				spawn(b, s, refs)
				b.ReportMetric(float64(heap()-before)/idle, "B/actor")
				runtime.KeepAlive(refs)
				if err := s.Shutdown(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("holdfast", func(b *testing.B, s *System, refs []Ref[*int]) {
		b.Helper()
		for i := range refs {
			refs[i] = mustSpawn(b, s, p)
		}
	})
	run("holdfast-told", func(b *testing.B, s *System, refs []Ref[*int]) {
		b.Helper()
		m := new(int)
		for i := range refs {
			refs[i] = mustSpawn(b, s, p)
			mustTell(b, refs[i], m)
		}
		for _, r := range refs {
			for r.Queued() > 0 {
				runtime.Gosched()
			}
		}
	})
	run("holdfast-child", func(b *testing.B, s *System, refs []Ref[*int]) {
		b.Helper()
		done := make(chan error, 1)
		mustSpawn(b, s, props(fake[*int]{started: func(ctx *Context[*int]) (err error) {
			for i := range refs {
				if refs[i], err = SpawnChild(ctx, p); err != nil {
					break
				}
			}
			done <- err
			return err
		}}))
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	})
	b.Run("protoactor", func(b *testing.B) {
		for range b.N {
			s := newSystem(b, Config{}).proto
			pids := make([]*proto.PID, idle)
			pp := proto.PropsFromProducer(func() proto.Actor { return &bare{} })
			before := heap()
			for i := range pids {
				pids[i] = s.Root.Spawn(pp)
			}
			b.ReportMetric(float64(heap()-before)/idle, "B/actor")
			runtime.KeepAlive(pids)
		}
	})
}

type bare struct{ _ *int }

func (*bare) Receive(proto.Context) {}

func BenchmarkSpawnAndStop(b *testing.B) {
	s := newSystem(b, Config{})
	p := Props[*int]{New: func() Behavior[*int] { return &state{} }}
	b.ReportAllocs()
	for range b.N {
		r := mustSpawn(b, s, p)
		r.Stop()
		if err := r.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
