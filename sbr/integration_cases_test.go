package sbr

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// numbered makes member i of a row of whole clusters: 1 is the oldest and has
// the lowest address.
func numbered(i int) Member {
	return Member{Member: member.Member{
		Node:   member.Node{ID: member.NodeID(strconv.Itoa(i)), Addr: fmt.Sprintf("10.0.0.%d:25520", i)},
		Status: member.Up, JoinedAt: uint64(i),
	}}
}

func numberedIDs(in []int) []member.NodeID {
	out := make([]member.NodeID, 0, len(in))
	for _, i := range in {
		out = append(out, numbered(i).ID)
	}
	return out
}

func TestClustersEndAsTheRowsSay(t *testing.T) {
	var file struct {
		Rows []struct {
			ID       string       `json:"id"`
			Strategy caseStrategy `json:"strategy"`
			Side1    int          `json:"side1_size"`
			Side2    int          `json:"side2_size"`
			MultiDC  bool         `json:"multi_dc"`
			Expect   string       `json:"expect"`
		} `json:"integration_cases"`
	}
	readCases(t, "sbr.json", &file)
	someRows(t, "integration_cases", len(file.Rows))
	for _, c := range file.Rows {
		t.Run(c.ID, func(t *testing.T) {
			// the oldest is on side 1, the second oldest on side 2
			var members []Member
			var side [2][]member.NodeID
			for i := 1; i <= c.Side1+c.Side2; i++ {
				m, s := numbered(i), 0
				if i > 1 && (i == 2 || len(side[0]) == c.Side1) && len(side[1]) < c.Side2 {
					s = 1
				}
				if s == 1 && c.MultiDC {
					m.Center = "other"
				}
				side[s] = append(side[s], m.ID)
				members = append(members, m)
			}
			w := newWorld(t, Settings{Strategy: c.Strategy.strategy(t), StableAfter: 10 * time.Second}, members)
			w.run(5 * time.Second)
			w.separate(side[:])
			w.run(90 * time.Second)
			want := map[string][]member.NodeID{
				"keep-side1": side[0], "keep-side2": side[1], "both-shut-down": {},
				"keep-all": slices.Concat(side[0], side[1]),
			}[c.Expect]
			if want == nil {
				t.Fatalf("outcome %q is unknown", c.Expect)
			}
			if got := w.alive(); !slices.Equal(sorted(got), sorted(want)) {
				t.Errorf("alive got %v, want %v:\n%s", got, want, strings.Join(w.story, "\n"))
			}
		})
	}
}

type multiNodeCase struct {
	ID         string           `json:"id"`
	Strategy   caseStrategy     `json:"strategy"`
	StableMs   int64            `json:"stable_after_ms"`
	UnstableMs int64            `json:"down_all_when_unstable_ms"`
	ReleaseMs  int64            `json:"release_after_ms"`
	Nodes      int              `json:"nodes"`
	Blackhole  [][2]int         `json:"blackhole"`
	Timeline   []string         `json:"timeline"`
	Seen       map[string][]int `json:"unreachable_seen"`
	Granted    []int            `json:"lease_granted_to"`
	Survivors  []int            `json:"survivors"`
	Terminated []int            `json:"terminated"`
	WithinMs   int64            `json:"within_ms"`
}

func TestCutLinksEndAsTheRowsSay(t *testing.T) {
	var file struct {
		Rows []multiNodeCase `json:"multi_node_cases"`
	}
	readCases(t, "sbr.json", &file)
	someRows(t, "multi_node_cases", len(file.Rows))
	for _, c := range file.Rows {
		t.Run(c.ID, func(t *testing.T) {
			var members []Member
			for i := range c.Nodes {
				members = append(members, numbered(i+1))
			}
			s := c.Strategy.strategy(t)
			if l, ok := s.(LeaseMajority); ok {
				l.ReleaseAfter = time.Duration(c.ReleaseMs) * time.Millisecond
				s = l
			}
			w := newWorld(t, Settings{
				Strategy: s, StableAfter: time.Duration(c.StableMs) * time.Millisecond,
				DownAllWhenUnstable: time.Duration(c.UnstableMs) * time.Millisecond, // absent means the default, as there
			}, members)
			if c.Granted != nil {
				w.lease.reachable = numberedIDs(c.Granted)
			}
			w.run(2 * time.Second)
			for _, l := range c.Blackhole {
				w.separate([][]member.NodeID{numberedIDs(l[:1]), numberedIDs(l[1:])})
			}
			w.look()
			for node, want := range c.Seen {
				var got []member.NodeID
				for id := range w.nodes[member.NodeID(node)].unreachable {
					if string(id) != node {
						got = append(got, id)
					}
				}
				if !slices.Equal(sorted(got), sorted(numberedIDs(want))) {
					t.Errorf("node %s sees unreachable %v, want %v", node, sorted(got), want)
				}
			}
			for _, line := range c.Timeline {
				timeline(t, w, line)
			}
			w.run(max(15*time.Second, time.Duration(c.WithinMs)*time.Millisecond))
			if got := w.alive(); !slices.Equal(sorted(got), sorted(numberedIDs(c.Survivors))) {
				t.Errorf("alive got %v, want %v:\n%s", got, c.Survivors, strings.Join(w.story, "\n"))
			}
			checkLease(t, w, c)
		})
	}
}

func checkLease(t *testing.T, w *world, c multiNodeCase) {
	t.Helper()
	if c.Granted == nil {
		return
	}
	for id, n := range w.lease.asked {
		if n != 1 {
			t.Errorf("node %s asked for the lease %d times, want once", id, n)
		}
	}
	if w.lease.released != 1 {
		t.Errorf("lease was released %d times, want once", w.lease.released)
	}
}

// timeline reads the few sentences that rows tell a sequence in.
func timeline(t *testing.T, w *world, line string) {
	t.Helper()
	braces := regexp.MustCompile(`\{([0-9,]+)\}`)
	pair := regexp.MustCompile(`(cut|restore) (\d+)<->(\d+)`)
	wait := regexp.MustCompile(`^\+(\d+)s`)
	if m := wait.FindStringSubmatch(line); m != nil {
		n, _ := strconv.Atoi(m[1])
		w.run(time.Duration(n) * time.Second)
	}
	if m := pair.FindStringSubmatch(line); m != nil {
		a, b := member.NodeID(m[2]), member.NodeID(m[3])
		w.link(a, b, m[1] == "cut")
		w.link(b, a, m[1] == "cut")
	}
	var groups [][]member.NodeID
	for _, m := range braces.FindAllStringSubmatch(line, -1) {
		groups = append(groups, ids(strings.Split(m[1], ",")))
	}
	w.separate(groups)
}
