package bench

import (
	"testing"
	"time"
)

// TestEveryComparisonRuns keeps the benchmarks from rotting. It looks at no
// figure: a busy machine must not fail it.
func TestEveryComparisonRuns(t *testing.T) {
	p := pace{rounds: 1, turn: 20 * time.Millisecond}
	for name, measure := range map[string]func(t *testing.T) []float64{
		"remote ask":      func(t *testing.T) []float64 { return remoteAsk(t, p, 100).rate },
		"local ask":       func(t *testing.T) []float64 { return localAsk(t, p, 2).rate },
		"durable deposit": func(t *testing.T) []float64 { return durableDeposit(t, p).rate },
		"idle memory":     func(t *testing.T) []float64 { return []float64{plainMemory(t, 1000)} },
		"durable memory": func(t *testing.T) []float64 {
			return []float64{durableMemory(t, 1000, false), durableMemory(t, 1000, true)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			for i, got := range measure(t) {
				if !(got > 0) {
					t.Errorf("figure %d: got %v, want more than 0", i, got)
				}
			}
		})
	}
}
