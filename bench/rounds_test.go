package bench

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// pace is how long a comparison takes: rounds, and the turn of a side in each.
type pace struct {
	rounds int
	turn   time.Duration
	// cpu is the processor time used so far, nil when it cannot be known.
	cpu func() time.Duration
}

func fullPace() pace { return pace{rounds: 9, turn: 400 * time.Millisecond} }

// side is one of the things that are compared.
type side struct {
	name string
	// run works for about d and returns how often it did its work per second.
	run func(d time.Duration) float64
}

// outcome of a comparison, by side.
type outcome struct {
	// rate is the median of the rounds.
	rate []float64
	// ratio is the median of the side's rate by that of the first side in the same
	// round.
	ratio []float64
	// cost is processor time per piece of work, in microseconds, over all rounds;
	// what else the machine does hardly changes it. 0 when it cannot be known.
	cost []float64
}

// compare has the sides take turns.
func compare(tb testing.TB, p pace, sides ...side) outcome {
	tb.Helper()
	rates, ratios := make([][]float64, len(sides)), make([][]float64, len(sides))
	used, work := make([]time.Duration, len(sides)), make([]float64, len(sides))
	if p.cpu == nil {
		p.cpu = func() time.Duration { return 0 }
	}
	for _, s := range sides { // to warm up
		s.run(p.turn / 4)
	}
	for round := range p.rounds {
		for i := range sides {
			k := i
			if round%2 == 1 { // nobody always follows the same one
				k = len(sides) - 1 - i
			}
			began, cpu := time.Now(), p.cpu()
			rate := sides[k].run(p.turn)
			used[k] += p.cpu() - cpu
			work[k] += rate * time.Since(began).Seconds()
			rates[k] = append(rates[k], rate)
		}
		for i := range sides {
			ratios[i] = append(ratios[i], rates[i][round]/rates[0][round])
		}
	}
	var o outcome
	for i, s := range sides {
		o.rate = append(o.rate, median(rates[i]))
		o.ratio = append(o.ratio, median(ratios[i]))
		o.cost = append(o.cost, float64(used[i].Nanoseconds())/1e3/work[i])
		tb.Logf("%-30s %8.0f/s  %6.2f us of processor  %.2f of %s (rounds: %.2f)", s.name, o.rate[i], o.cost[i], o.ratio[i], sides[0].name, ratios[i])
	}
	return o
}

// median of at least one value.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// processors returns the processor time that processes used so far: /proc has
// it in hundredths of a second.
func processors(pids ...int) func() time.Duration {
	return func() time.Duration {
		total := time.Duration(0)
		for _, pid := range pids {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil {
				return 0
			}
			// The name, in parentheses, may have spaces; user and system time are
			// fields 14 and 15.
			fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
			for _, f := range fields[11:13] {
				ticks, err := strconv.Atoi(f)
				if err != nil {
					return 0
				}
				total += time.Duration(ticks) * 10 * time.Millisecond
			}
		}
		return total
	}
}

// quiet takes the time per operation out of the report: an operation is a
// whole comparison.
func quiet(b *testing.B) { b.ReportMetric(0, "ns/op") }

func TestTheMedianIsTheMiddle(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{[]float64{7}, 7}, {[]float64{9, 1}, 5}, {[]float64{3, 100, 2}, 3}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.values, got, tt.want)
		}
	}
}
