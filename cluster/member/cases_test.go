package member_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// The rows come from the behaviour of Akka and Pekko. Other rows of the same
// schema run when HOLDFAST_CASES names their directory. What docs/adr/0003
// changes is named where it is asserted.

func readCases(t *testing.T, into any) {
	t.Helper()
	dir := filepath.Join("..", "..", "sbr", "testdata") // one copy for all who read it
	if d := os.Getenv("HOLDFAST_CASES"); d != "" {
		dir = d
	}
	b, err := os.ReadFile(filepath.Join(dir, "membership.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

func TestTransitionsAreThoseOfTheRows(t *testing.T) {
	var file struct {
		Rows map[string][]string `json:"allowed_transitions"`
	}
	readCases(t, &file)
	if len(file.Rows) == 0 {
		t.Fatal("no rows found in allowed_transitions")
	}
	ours := map[string]member.Status{
		"Joining": member.Joining, "Up": member.Up, "Leaving": member.Leaving,
		"Exiting": member.Exiting, "Down": member.Down, "Removed": member.Removed,
	}
	// docs/adr/0003: statuses that Holdfast has not
	without := []string{"WeaklyUp", "PreparingForShutdown", "ReadyForShutdown"}
	for from, allowed := range file.Rows {
		t.Run(from, func(t *testing.T) {
			for _, to := range allowed {
				if _, ok := ours[to]; !ok && !slices.Contains(without, to) {
					t.Errorf("status %s is neither ours nor excepted", to)
				}
			}
			s, ok := ours[from]
			if !ok {
				if !slices.Contains(without, from) {
					t.Errorf("status %s is neither ours nor excepted", from)
				}
				return
			}
			for name, to := range ours {
				if got, want := s.CanBecome(to), slices.Contains(allowed, name); got != want {
					t.Errorf("%v to %v: got %v, want %v", s, to, got, want)
				}
			}
		})
	}
}

func TestVersionsAreOrderedAsTheRowsSay(t *testing.T) {
	var file struct {
		Rows [][3]*string `json:"version_relations"`
	}
	readCases(t, &file)
	if len(file.Rows) == 0 {
		t.Fatal("no rows found in version_relations")
	}
	for i, row := range file.Rows {
		left, relation, right := *row[0], *row[1], ""
		if row[2] != nil {
			right = *row[2]
		}
		t.Run(fmt.Sprintf("%d %s %s %s", i, left, relation, right), func(t *testing.T) {
			v, err := member.ParseVersion(left)
			if relation == "error" {
				if err == nil {
					t.Errorf("ParseVersion(%q) got %v, want an error", left, v)
				}
				return
			}
			w, err2 := member.ParseVersion(right)
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			c := v.Compare(w)
			if back := w.Compare(v); back != -c {
				t.Errorf("compared the other way got %d, want %d", back, -c)
			}
			if ok, known := map[string]bool{"eq": c == 0, "ne": c != 0, "lt": c < 0, "gt": c > 0}[relation]; !known || !ok {
				t.Errorf("Compare got %d, want %s", c, relation)
			}
		})
	}
}

func TestAddressesAreOrderedAsTheRowsSay(t *testing.T) {
	var file struct {
		Rows []struct {
			ID   string   `json:"id"`
			Want [][2]any `json:"expect"`
		} `json:"address_order"`
	}
	readCases(t, &file)
	if len(file.Rows) == 0 {
		t.Fatal("no rows found in address_order")
	}
	for _, row := range file.Rows {
		t.Run(row.ID, func(t *testing.T) {
			var want []string
			for _, a := range row.Want {
				want = append(want, fmt.Sprintf("%v:%v", a[0], a[1]))
			}
			got := slices.Clone(want)
			slices.Reverse(got)
			slices.SortFunc(got, member.CompareAddr)
			if !slices.Equal(got, want) {
				t.Errorf("addresses got %v, want %v", got, want)
			}
		})
	}
}

func TestTheOldestAreThoseOfTheRows(t *testing.T) {
	type row struct {
		ID      string `json:"id"`
		Op      string `json:"op"`
		N       int    `json:"n"`
		Members []struct {
			N  string `json:"n"`
			DC string `json:"dc"`
			Up uint64 `json:"upNumber"`
		} `json:"members"`
		Want json.RawMessage `json:"expect"`
	}
	var file struct {
		Rows []row `json:"age_cases"`
	}
	readCases(t, &file)
	checked := 0
	for _, c := range file.Rows {
		if c.Op == "exiting_gossip_targets" {
			continue // docs/adr/0003: there is no gossip to send
		}
		checked++
		t.Run(c.ID, func(t *testing.T) {
			if c.Op != "top_oldest_per_dc" {
				t.Fatalf("op %q is unknown", c.Op)
			}
			var want map[string][]string
			if err := json.Unmarshal(c.Want, &want); err != nil {
				t.Fatal(err)
			}
			centers := make(map[string][]member.Member)
			for _, m := range c.Members {
				centers[m.DC] = append(centers[m.DC], member.Member{Node: member.Node{ID: member.NodeID(m.N), Addr: m.N + ":1"}, JoinedAt: m.Up})
			}
			for center, members := range centers {
				slices.SortFunc(members, member.CompareAge)
				var got []string
				for _, m := range members[:min(c.N, len(members))] {
					got = append(got, string(m.ID))
				}
				if !slices.Equal(got, want[center]) {
					t.Errorf("oldest of %s got %v, want %v", center, got, want[center])
				}
			}
		})
	}
	if checked == 0 {
		t.Fatal("no rows found in age_cases")
	}
}

func FuzzVersionsHaveAnOrder(f *testing.F) {
	for _, s := range []string{"1.2.3", "1.2.3-M1", "1.0.10+3-1234abcd", "foo", "", "1.2x", "99999999999999999999.1", "1-foo"} {
		f.Add(s, "1.2.3")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		v, err := member.ParseVersion(a)
		if err != nil {
			if !strings.Contains(err.Error(), "app version") {
				t.Errorf("error got %q, want it to name what is wrong", err)
			}
			return
		}
		if v.Compare(v) != 0 {
			t.Errorf("%q differs from itself", a)
		}
		if w, err := member.ParseVersion(b); err == nil && v.Compare(w) != -w.Compare(v) {
			t.Errorf("%q and %q: got %d and %d, want opposites", a, b, v.Compare(w), w.Compare(v))
		}
	})
}
