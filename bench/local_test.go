package bench

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"
)

// callers is how many goroutines ask at once in the parallel comparison, each
// another entity.
const callers = 64

// localAsk compares asks of entities on this node with protoactor's. Sides:
// protoactor, entities under one deadline for all asks, and under one for each.
func localAsk(tb testing.TB, p pace, callers int) outcome {
	tb.Helper()
	ctx := within(tb, 10*time.Minute)
	e := newEchoes().bytes
	n := single(tb, nil, e.typ)
	ids := make([]string, callers)
	for i := range ids {
		ids[i] = fmt.Sprintf("tenant-a/%d", i)
	}
	bare := proto.NewActorSystem(proto.WithLoggerFactory(func(*proto.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }))
	tb.Cleanup(bare.Shutdown)
	pids := make([]*proto.PID, callers)
	for i := range pids {
		calls := 0
		pids[i] = bare.Root.Spawn(proto.PropsFromFunc(func(c proto.Context) {
			if b, ok := c.Message().([]byte); ok {
				calls++
				c.Respond(b)
			}
		}))
	}
	content := []byte(strings.Repeat("x", size))
	return compare(tb, p,
		side{"protoactor RequestFuture", func(d time.Duration) float64 {
			return inFlight(tb, callers, d, func(caller, _ int) error {
				_, err := bare.Root.RequestFuture(pids[caller], content, 10*time.Second).Result()
				return err
			})
		}},
		side{"ask", func(d time.Duration) float64 {
			return inFlight(tb, callers, d, func(caller, _ int) error {
				_, err := e.echo.Ask(ctx, n, ids[caller], content)
				return err
			})
		}},
		side{"ask with a deadline of its own", func(d time.Duration) float64 {
			return inFlight(tb, callers, d, func(caller, _ int) error {
				ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				_, err := e.echo.Ask(ctx, n, ids[caller], content)
				return err
			})
		}},
	)
}

// BenchmarkLocalAsk: at most three times as long as protoactor is the target.
func BenchmarkLocalAsk(b *testing.B) {
	for _, bb := range []struct {
		name    string
		callers int
	}{{"sequential", 1}, {fmt.Sprintf("parallel-%d", callers), callers}} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				o := localAsk(b, fullPace(), bb.callers)
				b.ReportMetric(o.rate[0], "protoactor-asks/s")
				b.ReportMetric(o.rate[1], "asks/s")
				b.ReportMetric(1/o.ratio[1], "x-protoactor")
				b.ReportMetric(1/o.ratio[2], "x-protoactor-own-deadline")
			}
			quiet(b)
		})
	}
}
