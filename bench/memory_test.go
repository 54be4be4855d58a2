package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/persistence/journal"
	"github.com/holdfast-go/holdfast/persistence/journal/memory"
	"github.com/holdfast-go/holdfast/sharding"
)

// idle is how many entities are in memory when it is measured.
const idle = 500_000

// heap is what is in use after everything else is gone.
func heap() float64 {
	for range 3 { // pools are emptied by the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func idleID(i int) string { return fmt.Sprintf("tenant-a/%08d", i) }

// plainMemory is the heap per idle entity of a plain type, its id included.
func plainMemory(tb testing.TB, entities int) float64 {
	tb.Helper()
	e := newEchoes().bytes
	n := single(tb, nil, e.typ)
	ctx := within(tb, 10*time.Minute)
	ask := func(i int) error {
		_, err := e.echo.Ask(ctx, n, idleID(i), []byte("x"))
		return err
	}
	return grown(tb, entities, ask)
}

// durableMemory is the heap per idle entity of a durable type after one
// command, without the journal. With ids the entity also remembers the outcome
// of its command.
func durableMemory(tb testing.TB, entities int, ids bool) float64 {
	tb.Helper()
	b := newBank()
	b.accounts.PassivateAfter = -1
	n := single(tb, memory.New(), b.accounts)
	ctx := within(tb, 10*time.Minute)
	both := grown(tb, entities, func(i int) error {
		ctx := ctx
		if ids {
			ctx = sharding.CommandID(ctx, commandID(i))
		}
		_, err := b.deposit.Ask(ctx, n, idleID(i), deposit{1})
		return err
	})
	return both - journalMemory(tb, entities, ids)
}

func commandID(i int) string { return fmt.Sprintf("deposit-%08d", i) }

// journalMemory is what a store of its own takes for the same history.
func journalMemory(tb testing.TB, entities int, ids bool) float64 {
	tb.Helper()
	store := memory.New()
	ctx := context.Background()
	tokens := make([]journal.Token, sharding.DefaultShards)
	for i := range tokens {
		var err error
		if tokens[i], err = store.Claim(ctx, journal.Shard{Type: "account", Index: i}, 1, 1, "bench"); err != nil {
			tb.Fatal(err)
		}
	}
	return grown(tb, entities, func(i int) error {
		a, err := depositAppend(idleID(i), tokens, 0)
		if err != nil {
			return err
		}
		if ids {
			a.Command = &journal.Command{ID: commandID(i), Reply: []byte("\x001")}
		}
		return store.Append(ctx, []journal.Append{a})[0].Err
	})
}

// depositAppend is what a deposit adds to a journal.
func depositAppend(id string, tokens []journal.Token, expected uint64) (journal.Append, error) {
	payload, err := json.Marshal(deposited{1})
	shard := sharding.ShardOf(id, len(tokens))
	return journal.Append{
		Stream: journal.Stream{Shard: journal.Shard{Type: "account", Index: shard}, ID: id},
		Token:  tokens[shard], Expected: expected,
		Events: []journal.Event{{Type: "event", Version: 1, Payload: payload}},
	}, err
}

// grown is how much the heap grew per call of add.
func grown(tb testing.TB, n int, add func(i int) error) float64 {
	tb.Helper()
	before := heap()
	for i := range n {
		if err := add(i); err != nil {
			tb.Fatal(err)
		}
	}
	after := heap()
	runtime.KeepAlive(add) // and what it fills
	return (after - before) / float64(n)
}

// BenchmarkIdleMemory: at most 1024 bytes for each entity is the target.
func BenchmarkIdleMemory(b *testing.B) {
	for _, bb := range []struct {
		name    string
		measure func(b *testing.B) float64
	}{
		{"plain", func(b *testing.B) float64 { return plainMemory(b, idle) }},
		{"durable", func(b *testing.B) float64 { return durableMemory(b, idle, false) }},
		{"durable-with-command-id", func(b *testing.B) float64 { return durableMemory(b, idle, true) }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(bb.measure(b), "B/entity")
			}
			quiet(b)
		})
	}
}
