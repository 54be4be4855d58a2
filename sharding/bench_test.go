package sharding_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/holdfast-go/holdfast/actor"
	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/remote"
	"github.com/holdfast-go/holdfast/sharding"
	"github.com/holdfast-go/holdfast/sharding/placement"
)

// fixed is a cluster whose table never changes.
type fixed struct {
	self member.Node
	view sharding.TableView
}

func (f *fixed) Self() member.Node                              { return f.self }
func (f *fixed) SessionValid() bool                             { return true }
func (f *fixed) Observe(o sharding.TableObserver)               { o.TableReset(f.view) }
func (f *fixed) Released(context.Context, []placement.Op) error { return nil }

// benchNodes starts nodes on loopback; the last one owns every shard.
func benchNodes(tb testing.TB, n int, entity sharding.Entity) []*sharding.Regions {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	tb.Cleanup(func() { cancel(); wg.Wait() })
	var transports []*remote.Endpoint
	var members []member.Member
	for i := range n {
		e, err := remote.New(remote.Config{
			Self:    member.Node{ID: member.NodeID(fmt.Sprintf("%016x", i+1)), Addr: "127.0.0.1:0"},
			Cluster: "bench", Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			tb.Fatal(err)
		}
		transports = append(transports, e)
		members = append(members, member.Member{Node: e.Self(), Status: member.Up})
	}
	def := entity.Definition().WithDefaults()
	view := sharding.TableView{Generation: 1, Index: 10, Members: members}
	for i := range def.Shards {
		view.Shards = append(view.Shards, placement.Change{
			Key: placement.Key{Type: def.Name, Shard: i},
			Row: placement.Shard{State: placement.Running, Owner: members[n-1].ID, Epoch: 5},
		})
	}
	var out []*sharding.Regions
	for _, e := range transports {
		actors, err := actor.NewSystem(actor.Config{})
		if err != nil {
			tb.Fatal(err)
		}
		r, err := sharding.NewRegions(sharding.Config{
			Cluster: &fixed{self: e.Self(), view: view}, Transport: e, Actors: actors,
			Entities: []sharding.Entity{entity}, Logger: slog.New(slog.DiscardHandler), DrainTimeout: time.Second,
		})
		if err != nil {
			tb.Fatal(err)
		}
		wg.Go(func() {
			if err := r.Run(ctx); err != nil {
				tb.Error(err)
			}
		})
		wg.Go(func() {
			if err := e.Run(ctx); err != nil {
				tb.Error(err)
			}
		})
		out = append(out, r)
	}
	return out
}

func BenchmarkLocalAsk(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	var bare float64
	b.Run("protoactor", func(b *testing.B) {
		b.ReportAllocs()
		s := proto.NewActorSystem(proto.WithLoggerFactory(func(*proto.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
		pid := s.Root.Spawn(proto.PropsFromFunc(func(ctx proto.Context) {
			if n, ok := ctx.Message().(int); ok {
				ctx.Respond(n)
			}
		}))
		for b.Loop() {
			if _, err := s.Root.RequestFuture(pid, 1, time.Second).Result(); err != nil {
				b.Fatal(err)
			}
		}
		bare = float64(b.Elapsed()) / float64(b.N)
	})
	b.Run("holdfast", func(b *testing.B) {
		b.ReportAllocs()
		typ, add := counterType(1000)
		node := benchNodes(b, 1, typ)[0] //nolint:contextcheck // remote.New binds a port and waits for nothing
		for b.Loop() {
			if _, err := add.Ask(ctx, node, "x", 1); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed())/float64(b.N)/bare, "x-bare")
	})
}

func BenchmarkRemoteAsk(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	for _, flight := range []int{1, 256} {
		b.Run(fmt.Sprintf("in-flight-%d", flight), func(b *testing.B) {
			b.ReportAllocs()
			typ, add := counterType(1000)
			nodes := benchNodes(b, 2, typ) //nolint:contextcheck // remote.New binds a port and waits for nothing
			ids := make([]string, 10_000)
			for i := range ids {
				ids[i] = fmt.Sprintf("tenant-a/%d", i)
				if _, err := add.Ask(ctx, nodes[0], ids[i], 1); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			var next atomic.Int64
			var wg sync.WaitGroup
			for range flight {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if _, err := add.Ask(ctx, nodes[0], ids[i%int64(len(ids))], 1); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "asks/s")
		})
	}
}

// BenchmarkIdleEntity reports the heap that one idle entity costs, its id
// included. Run it with -benchtime 500000x.
func BenchmarkIdleEntity(b *testing.B) {
	typ, add := counterType(1000)
	node := benchNodes(b, 1, typ)[0]
	ctx := context.Background()
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	if _, err := add.Ask(ctx, node, "warm", 1); err != nil {
		b.Fatal(err)
	}
	before := heap()
	b.ResetTimer()
	for i := range b.N {
		if _, err := add.Ask(ctx, node, fmt.Sprintf("tenant-a/%08d", i), 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before)/float64(b.N), "B/entity")
}
