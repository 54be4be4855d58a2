package sim_test

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/sim"
)

var (
	seed      = flag.Uint64("seed", 0, "run only the history of this seed")
	histories = flag.Int("histories", envInt("HOLDFAST_SIM_HISTORIES", 12), "number of histories")
	slow      = flag.Duration("slow", time.Hour, "show histories that took longer than this to recover")
	first     = flag.Uint64("first", 1, "seed of the first history")
)

func envInt(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return def
}

func logger() *slog.Logger {
	if os.Getenv("HOLDFAST_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestWhateverHappensThePromisesHold(t *testing.T) {
	from, n := *first, *histories
	if *seed != 0 {
		from, n = *seed, 1
	}
	var total sim.Stats
	for s := from; s < from+uint64(n); s++ {
		t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
			r := sim.Run(t, sim.Options{Seed: s, Log: logger()})
			total.Add(r.Stats)
			if len(r.Violations) == 0 && *seed == 0 && r.Stats.SlowestHeal < *slow {
				return
			}
			for _, line := range r.Timeline {
				t.Log(line)
			}
			t.Logf("%+v", r.Stats)
			for _, v := range r.Violations {
				t.Error(v)
			}
			if t.Failed() {
				t.Logf("replay: go test ./internal/sim -run TestWhateverHappensThePromisesHold -seed %d", s)
			}
		})
	}
	t.Logf("%s", total)
}
