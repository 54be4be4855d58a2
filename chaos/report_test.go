//go:build unix

package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Kinds of faults.
const (
	memberKilled  = "member killed"
	leaderKilled  = "leader killed"
	memberPaused  = "member paused"
	leaderPaused  = "leader paused"
	memberLeft    = "member left"
	leaderLeft    = "leader left"
	allKilled     = "all killed"
	allRestarted  = "stop and start"
	probeAccounts = 6
)

// outage is what one fault did.
type outage struct {
	kind string
	node int
	// From the fault to the first answer of an affected account, and until all
	// probed ones had answered: by way of the front door and by a node that lived.
	doorFirst, doorAll, directFirst, directAll time.Duration
	// slowest deposit of the load, with all its attempts.
	slowest time.Duration
	// settled is when every node was back and shards were even.
	settled  time.Duration
	failures []failure
}

// report of a whole run.
type report struct {
	outages                  []outage
	deposits, unacked, reads int
	repeats                  int
	took                     time.Duration
}

func (r *report) of(kind string) []outage {
	var found []outage
	for _, o := range r.outages {
		if o.kind == kind {
			found = append(found, o)
		}
	}
	return found
}

// String is the report as people read it.
func (r *report) String() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(cells ...any) {
		var row []byte
		for _, c := range cells {
			if d, ok := c.(time.Duration); ok {
				c = d.Round(time.Millisecond)
				if d == 0 {
					c = "-"
				}
			}
			row = fmt.Appendf(row, "%v\t", c)
		}
		_, _ = w.Write(append(row, '\n')) // a strings.Builder does not fail
	}
	line("fault", "node", "door first", "door all", "direct first", "direct all", "slowest deposit", "settled", "failed")
	for _, o := range r.outages {
		line(o.kind, o.node, o.doorFirst, o.doorAll, o.directFirst, o.directAll, o.slowest, o.settled, len(o.failures))
	}
	line()
	line("", "n", "door first", "door all", "direct first", "direct all", "slowest deposit", "settled", "failed")
	for _, kind := range []string{memberKilled, leaderKilled, memberPaused, leaderPaused, memberLeft, leaderLeft} {
		found := r.of(kind)
		if len(found) == 0 {
			continue
		}
		for _, column := range []struct {
			name string
			pick func([]time.Duration) time.Duration
		}{{"median", median}, {"worst", slices.Max[[]time.Duration]}} {
			over := func(of func(outage) time.Duration) time.Duration {
				var all []time.Duration
				for _, o := range found {
					all = append(all, of(o))
				}
				return column.pick(all)
			}
			line(kind+", "+column.name, len(found),
				over(func(o outage) time.Duration { return o.doorFirst }), over(func(o outage) time.Duration { return o.doorAll }),
				over(func(o outage) time.Duration { return o.directFirst }), over(func(o outage) time.Duration { return o.directAll }),
				over(func(o outage) time.Duration { return o.slowest }), over(func(o outage) time.Duration { return o.settled }), "")
		}
	}
	_ = w.Flush()
	kinds := map[string]int{}
	for _, o := range r.outages {
		for _, f := range o.failures {
			kinds[o.kind+": "+f.kind]++
		}
	}
	fmt.Fprintf(&out, "\nfailed attempts of the load (each deposit was repeated):\n")
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Fprintf(&out, "  %s: %d\n", kind, kinds[kind])
	}
	fmt.Fprintf(&out, "%d deposits, %d of them unacknowledged, %d repeats, %d reads, in %v\n", r.deposits, r.unacked, r.repeats, r.reads, r.took.Round(time.Second))
	return out.String()
}

// median of a list that is not empty: the upper one of two in the middle.
func median(all []time.Duration) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}
