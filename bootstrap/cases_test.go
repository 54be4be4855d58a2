package bootstrap_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/bootstrap"
	"github.com/holdfast-go/holdfast/cluster/member"
)

// cases are rows of the join decider that users of Akka and Pekko know. They
// are read from the directory that HOLDFAST_CASES names, else from testdata.
type cases struct {
	Sort []struct {
		ID            string
		Input, Expect []caseTarget
	} `json:"sort_cases"`
	Decide []decideCase `json:"decide_cases"`
	Match  []struct {
		ID     string
		Target caseTarget
		Self   caseSelf
		Expect bool
	} `json:"match_cases"`
}

type decideCase struct {
	ID       string
	Settings struct {
		Required    int  `json:"required_contact_point_nr"`
		StableMS    int  `json:"stable_margin_ms"`
		ContactAll  bool `json:"contact_with_all_contact_points"`
		FormAllowed bool `json:"new_cluster_enabled"`
	}
	Self         caseSelf
	ChangedMSAgo int          `json:"changed_ms_ago"`
	Points       []caseTarget `json:"contact_points"`
	Observations []struct {
		Contact caseTarget
		AgeMS   int `json:"age_ms"`
		Seeds   []string
	}
	Expect struct {
		Decision string
		Seeds    []string
	}
}

type caseTarget struct {
	Host string
	Port *int
	IP   *string
}

func (c caseTarget) point(t *testing.T) bootstrap.ContactPoint {
	t.Helper()
	p := bootstrap.ContactPoint{Host: c.Host}
	if c.Port != nil {
		p.Port = *c.Port
	}
	if c.IP != nil {
		ip, err := netip.ParseAddr(*c.IP)
		if err != nil {
			t.Fatal(err)
		}
		p.IP = ip
	}
	return p
}

type caseSelf [2]any

func (s caseSelf) self() bootstrap.Self {
	port, _ := s[1].(float64)
	host, _ := s[0].(string)
	return bootstrap.Self{Node: member.Node{ID: "me", Addr: "self:1"}, Cluster: "bank", Host: host, Port: int(port)}
}

func readCases(t *testing.T) cases {
	t.Helper()
	dir := "testdata"
	if d := os.Getenv("HOLDFAST_CASES"); d != "" {
		dir = d
	}
	b, err := os.ReadFile(filepath.Join(dir, "joindecider.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c cases
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func points(t *testing.T, in []caseTarget) []bootstrap.ContactPoint {
	t.Helper()
	var out []bootstrap.ContactPoint
	for _, c := range in {
		out = append(out, c.point(t))
	}
	return out
}

func TestSortCases(t *testing.T) {
	// docs/adr/0002: addresses are compared unsigned, and before names
	changed := map[string][]string{
		"sort-signed-bytes-quirk": {"10.0.0.2:0", "10.0.0.200:0"},
		"sort-ip-missing-first":   {"10.0.0.1:0", "z:0"},
	}
	rows := readCases(t).Sort
	if len(rows) == 0 {
		t.Fatal("no sort_cases found")
	}
	for _, c := range rows {
		t.Run(c.ID, func(t *testing.T) {
			got := addrs(slices.SortedFunc(slices.Values(points(t, c.Input)), bootstrap.CompareContactPoints))
			want, ok := changed[c.ID]
			if !ok {
				want = addrs(points(t, c.Expect))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func addrs(points []bootstrap.ContactPoint) []string {
	var out []string
	for _, p := range points {
		out = append(out, p.Addr())
	}
	return out
}

func TestDecideCases(t *testing.T) {
	rows := readCases(t).Decide
	if len(rows) == 0 {
		t.Fatal("no decide_cases found")
	}
	actions := map[string]bootstrap.Action{"keep-probing": bootstrap.KeepProbing, "join-self": bootstrap.Form, "join-other": bootstrap.Join}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ago := func(ms int) time.Time { return now.Add(-time.Duration(ms) * time.Millisecond) }
	for _, c := range rows {
		t.Run(c.ID, func(t *testing.T) {
			o := bootstrap.Observations{Points: points(t, c.Points), ChangedAt: ago(c.ChangedMSAgo)}
			for _, a := range c.Observations {
				answer := bootstrap.Answer{Point: a.Contact.point(t), At: ago(a.AgeMS)}
				for _, addr := range a.Seeds {
					answer.Generation = 1
					answer.Seeds = append(answer.Seeds, bootstrap.Seed{ID: member.NodeID(addr), Addr: addr})
				}
				o.Answers = append(o.Answers, answer)
			}
			got := bootstrap.Decide(now, c.Self.self(), bootstrap.Settings{
				RequiredContactPoints: c.Settings.Required,
				StableMargin:          time.Duration(c.Settings.StableMS) * time.Millisecond,
				IgnoreSilent:          !c.Settings.ContactAll,
				JoinOnly:              !c.Settings.FormAllowed,
			}, o)
			want, ok := actions[c.Expect.Decision]
			if !ok {
				t.Fatalf("row expects an unknown decision %q", c.Expect.Decision)
			}
			if got.Action != want || !slices.Equal(got.Addrs, c.Expect.Seeds) {
				t.Errorf("got %s %v (%s), want %s %v", got.Action, got.Addrs, got.Reason, want, c.Expect.Seeds)
			}
			if got.Reason == "" || got.Cause == "" {
				t.Errorf("decision got cause %q and reason %q, want both", got.Cause, got.Reason)
			}
		})
	}
}

// A contact point is this node when it forms a cluster alone with it.
func TestMatchCases(t *testing.T) {
	rows := readCases(t).Match
	if len(rows) == 0 {
		t.Fatal("no match_cases found")
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range rows {
		t.Run(c.ID, func(t *testing.T) {
			p := c.Target.point(t)
			got := bootstrap.Decide(now, c.Self.self(), bootstrap.Settings{RequiredContactPoints: 1}, bootstrap.Observations{
				Points: []bootstrap.ContactPoint{p}, ChangedAt: now.Add(-time.Hour), Answers: []bootstrap.Answer{{Point: p, At: now}},
			})
			if forms := got.Action == bootstrap.Form; forms != c.Expect {
				t.Errorf("is this node: got %v (%s), want %v", forms, got.Reason, c.Expect)
			}
		})
	}
}
