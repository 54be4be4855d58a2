package sbr

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// The rows of testdata/*.json come from the behaviour of Akka and Pekko; other
// rows of the same schema run when HOLDFAST_CASES names their directory. What
// docs/adr/0003 changes is named where it is asserted.

func readCases(t *testing.T, file string, into any) {
	t.Helper()
	dir := "testdata"
	if d := os.Getenv("HOLDFAST_CASES"); d != "" {
		dir = d
	}
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func someRows(t *testing.T, table string, n int) {
	t.Helper()
	if n == 0 {
		t.Fatalf("no rows found in %s", table)
	}
}

type caseFixture struct {
	Host     string   `json:"host"`
	UpNumber uint64   `json:"upNumber"`
	Roles    []string `json:"roles"`
}

type caseMember struct {
	M        string   `json:"m"`
	Status   string   `json:"status"`
	UpNumber *uint64  `json:"upNumber"`
	Roles    []string `json:"roles"`
	DC       string   `json:"dc"`
}

type caseStrategy struct {
	Name        string  `json:"name"`
	QuorumSize  int     `json:"quorumSize"`
	Role        *string `json:"role"`
	DownIfAlone *bool   `json:"downIfAlone"`
	MinorityMs  *int64  `json:"acquireLeaseDelayForMinorityMs"`
	ReleaseMs   *int64  `json:"releaseAfterMs"`
}

func (c caseStrategy) strategy(t *testing.T) Strategy {
	t.Helper()
	role := ""
	if c.Role != nil {
		role = *c.Role
	}
	switch c.Name {
	case "keep-majority":
		return KeepMajority{Role: role}
	case "static-quorum":
		return StaticQuorum{QuorumSize: c.QuorumSize, Role: role}
	case "keep-oldest":
		return KeepOldest{DownIfAlone: c.DownIfAlone == nil || *c.DownIfAlone, Role: role}
	case "down-all":
		return DownAll{}
	case "lease-majority":
		s := LeaseMajority{Role: role}
		if c.MinorityMs != nil {
			s.MinorityDelay = time.Duration(*c.MinorityMs) * time.Millisecond
		}
		if c.ReleaseMs != nil {
			s.ReleaseAfter = time.Duration(*c.ReleaseMs) * time.Millisecond
		}
		return s
	}
	t.Fatalf("strategy %q is unknown", c.Name)
	return nil
}

// fixture makes members from rows: the id of a member is its name there.
type fixture map[string]caseFixture

func (f fixture) member(t *testing.T, c caseMember) Member {
	t.Helper()
	known, ok := f[c.M]
	if !ok {
		known = caseFixture{Host: strings.ToLower(c.M)}
	}
	m := Member{Member: member.Member{
		Node:  member.Node{ID: member.NodeID(c.M), Addr: known.Host + ":25520"},
		Roles: known.Roles, JoinedAt: known.UpNumber,
	}, Center: c.DC}
	if c.Roles != nil {
		m.Roles = c.Roles
	}
	if c.UpNumber != nil {
		m.JoinedAt = *c.UpNumber
	}
	if m.Center == "default" {
		m.Center = ""
	}
	m.Status, m.WeaklyUp = status(t, c.Status)
	return m
}

// status translates a status of the rows. Those that Holdfast has not are, for
// counting, what they are translated to.
func status(t *testing.T, name string) (s member.Status, weakly bool) {
	t.Helper()
	switch name {
	case "Joining":
		return member.Joining, false
	case "WeaklyUp":
		return member.Joining, true
	case "Up", "", "PreparingForShutdown", "ReadyForShutdown":
		return member.Up, false
	case "Leaving":
		return member.Leaving, false
	case "Exiting":
		return member.Exiting, false
	case "Down":
		return member.Down, false
	case "Removed":
		return member.Removed, false
	}
	t.Fatalf("status %q is unknown", name)
	return 0, false
}

func ids(names []string) []member.NodeID {
	out := make([]member.NodeID, 0, len(names))
	for _, n := range names {
		out = append(out, member.NodeID(n))
	}
	return out
}

func sorted(in []member.NodeID) []string {
	out := make([]string, 0, len(in))
	for _, id := range in {
		out = append(out, string(id))
	}
	slices.Sort(out)
	return out
}

func sortedNames(in []string) []string { return slices.Sorted(slices.Values(in)) }

func records(pairs [][2]string) []Observation {
	out := make([]Observation, 0, len(pairs))
	for _, p := range pairs {
		out = append(out, Observation{Observer: member.NodeID(p[0]), Subject: member.NodeID(p[1])})
	}
	return out
}

// rowAction writes a decision as the rows do.
func rowAction(d Decision) string {
	name := map[Action]string{
		DownUnreachable: "DownUnreachable", DownReachable: "DownReachable", DownEverybody: "DownAll",
		DownIndirect: "DownIndirectlyConnected", ReverseDownIndirect: "ReverseDownIndirectlyConnected", DownSelf: "DownSelfQuarantinedByRemote",
	}[d.Action]
	if d.Lease {
		return "AcquireLeaseAnd" + name
	}
	return name
}

type caseOutcome struct {
	Decision        string   `json:"decision"`
	Down            []string `json:"down"`
	AcquireDelayMs  *int64   `json:"acquire_delay_ms"`
	ReverseDecision string   `json:"reverse_decision"`
	ReverseDown     []string `json:"reverse_down"`
	Error           string   `json:"error"`
	Fallback        []string `json:"down_after_fallback_to_DownAll"`
}

type strategyCase struct {
	ID           string       `json:"id"`
	Strategy     caseStrategy `json:"strategy"`
	Members      []caseMember `json:"members"`
	SelfSide     []string     `json:"self_side"`
	Unreachable  []string     `json:"unreachable"`
	Reachability [][2]string  `json:"reachability_records"`
	SeenBy       []string     `json:"seen_by"`
	Expect       caseOutcome  `json:"expect"`
	Derived      caseOutcome  `json:"derived"`
}

func TestStrategiesDecideAsTheRowsSay(t *testing.T) {
	var file struct {
		Fixture fixture        `json:"fixture_members"`
		Rows    []strategyCase `json:"strategy_cases"`
	}
	readCases(t, "sbr.json", &file)
	someRows(t, "strategy_cases", len(file.Rows))
	for _, c := range file.Rows {
		t.Run(c.ID, func(t *testing.T) {
			v := View{Unreachable: ids(c.Unreachable), Observations: records(c.Reachability), Seen: ids(c.SeenBy)}
			for _, m := range c.Members {
				v.Members = append(v.Members, file.Fixture.member(t, m))
			}
			if len(c.SelfSide) > 0 {
				v.Self = member.NodeID(c.SelfSide[0])
			}
			d := Decide(c.Strategy.strategy(t), v)
			for _, want := range []caseOutcome{c.Expect, c.Derived} {
				if want.Error != "" || want.Fallback != nil {
					// an error there, a decision with its reason here
					checkFallback(t, d, want)
					continue
				}
				if c.Expect.Error == "" {
					checkOutcome(t, d, want)
				}
			}
			if d.Reason.Strategy == "" || d.Reason.Rule == "" || d.Reason.Words == "" {
				t.Errorf("reason got %+v, want strategy, rule and words", d.Reason)
			}
		})
	}
}

func checkOutcome(t *testing.T, d Decision, want caseOutcome) {
	t.Helper()
	if want.Decision != "" && rowAction(d) != want.Decision {
		t.Errorf("decision got %s, want %s (%v)", rowAction(d), want.Decision, d)
	}
	if want.Down != nil && !slices.Equal(sorted(d.Down), sortedNames(want.Down)) {
		t.Errorf("down got %v, want %v (%v)", sorted(d.Down), want.Down, d)
	}
	if want.AcquireDelayMs != nil && d.AcquireAfter.Milliseconds() != *want.AcquireDelayMs {
		t.Errorf("acquire after got %v, want %d ms", d.AcquireAfter, *want.AcquireDelayMs)
	}
	if want.ReverseDecision == "" && want.ReverseDown == nil {
		return
	}
	if d.Denied == nil {
		t.Fatalf("outcome without the lease got none, want %s %v", want.ReverseDecision, want.ReverseDown)
	}
	if got := rowAction(*d.Denied); want.ReverseDecision != "" && got != want.ReverseDecision {
		t.Errorf("decision without the lease got %s, want %s", got, want.ReverseDecision)
	}
	if want.ReverseDown != nil && !slices.Equal(sorted(d.Denied.Down), sortedNames(want.ReverseDown)) {
		t.Errorf("down without the lease got %v, want %v", sorted(d.Denied.Down), want.ReverseDown)
	}
}

func checkFallback(t *testing.T, d Decision, want caseOutcome) {
	t.Helper()
	if want.Error != "" && string(d.Reason.Rule) != want.Error {
		t.Errorf("rule got %s, want %s", d.Reason.Rule, want.Error)
	}
	if d.Action != DownEverybody {
		t.Errorf("action got %v, want %v", d.Action, DownEverybody)
	}
	if want.Decision != "" {
		if got := rowAction(Decision{Action: d.Reason.Overruled}); got != want.Decision {
			t.Errorf("overruled action got %s, want %s", got, want.Decision)
		}
	}
	if want.Fallback != nil && !slices.Equal(sorted(d.Down), sortedNames(want.Fallback)) {
		t.Errorf("down got %v, want %v", sorted(d.Down), want.Fallback)
	}
}

type setCase struct {
	ID            string              `json:"id"`
	Ordering      string              `json:"ordering"`
	Steps         [][]json.RawMessage `json:"steps"`
	Members       []caseMember        `json:"members"`
	Unreachable   []string            `json:"unreachable"`
	Joining       []string            `json:"joining"`
	IsUnreachable map[string]bool     `json:"is_unreachable"`
	Queries       []struct {
		Query   string   `json:"query"`
		Up      bool     `json:"including_possibly_up"`
		Exiting bool     `json:"excluding_possibly_exiting"`
		Result  []string `json:"result"`
	} `json:"queries"`
}

func (c setCase) order(t *testing.T) func(a, b Member) int {
	t.Helper()
	switch c.Ordering {
	case "age":
		return compareAge
	case "address":
		return compareAddress
	}
	t.Fatalf("ordering %q is unknown", c.Ordering)
	return nil
}

func TestTheMemberSetKeepsBooksAsTheRowsSay(t *testing.T) {
	var file struct {
		Fixture fixture   `json:"fixture_members"`
		Rows    []setCase `json:"set_cases"`
	}
	readCases(t, "sbr.json", &file)
	someRows(t, "set_cases", len(file.Rows))
	for _, c := range file.Rows {
		t.Run(c.ID, func(t *testing.T) {
			setSteps(t, file.Fixture, c)
			v := View{Unreachable: ids(c.Unreachable)}
			for _, m := range c.Members {
				v.Members = append(v.Members, file.Fixture.member(t, m))
			}
			sc := newSceneOf(v, "", c.order(t))
			if !slices.IsSortedFunc(sc.members, c.order(t)) {
				t.Errorf("members got %v, want them in order of %s", sc.members, c.Ordering)
			}
			for _, q := range c.Queries {
				n := counting{possiblyUp: q.Up, certainlyStaying: q.Exiting}
				here, there := sc.split(n)
				got := map[string][]Member{"members": sc.counted(n), "reachable": here, "unreachable": there}[q.Query]
				if !slices.Equal(namesOf(got), sortedNames(q.Result)) {
					t.Errorf("%s, possibly up %v, without leaving %v: got %v, want %v", q.Query, q.Up, q.Exiting, namesOf(got), q.Result)
				}
			}
			var young []Member
			for _, m := range sc.members {
				if joining(m) {
					young = append(young, m)
				}
			}
			if c.Joining != nil && !slices.Equal(namesOf(young), sortedNames(c.Joining)) {
				t.Errorf("joining got %v, want %v", namesOf(young), c.Joining)
			}
			for m, want := range c.IsUnreachable {
				if got := sc.unreachable[member.NodeID(m)]; got != want {
					t.Errorf("%s unreachable got %v, want %v", m, got, want)
				}
			}
		})
	}
}

// setSteps plays the additions and removals of a row on a resolver.
func setSteps(t *testing.T, f fixture, c setCase) {
	t.Helper()
	r, err := NewResolver(Settings{}, "self", "")
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range c.Steps {
		var op string
		parse(t, step[0], &op)
		switch op {
		case "add":
			var m caseMember
			parse(t, step[1], &m.M)
			parse(t, step[2], &m.Status)
			r.Step(time.Time{}, MemberChanged{Member: f.member(t, m)})
		case "remove":
			var name string
			parse(t, step[1], &name)
			r.Step(time.Time{}, MemberRemoved{ID: member.NodeID(name)})
		case "check":
			var n int
			var want []string
			parse(t, step[1], &n)
			parse(t, step[2], &want)
			var got []string
			for _, m := range r.View().Members {
				got = append(got, rowStatus(m))
			}
			if len(got) != n || !slices.Equal(sortedNames(got), sortedNames(want)) {
				t.Errorf("step %d: statuses got %v, want %d: %v", i, got, n, want)
			}
		default:
			t.Fatalf("step %q is unknown", op)
		}
	}
}

func parse(t *testing.T, raw json.RawMessage, into any) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

func rowStatus(m Member) string {
	if m.WeaklyUp {
		return "WeaklyUp"
	}
	s := m.Status.String()
	return strings.ToUpper(s[:1]) + s[1:]
}

func namesOf(members []Member) []string {
	out := make([]string, 0, len(members))
	for _, m := range members {
		out = append(out, string(m.ID))
	}
	slices.Sort(out)
	return out
}

func TestTheLeaseIsNamedAsTheRowsSay(t *testing.T) {
	var file struct {
		Rows []struct {
			Configured string `json:"configured"`
			System     string `json:"system"`
			Want       string `json:"expect_name"`
		} `json:"lease_name_cases"`
	}
	readCases(t, "sbr.json", &file)
	someRows(t, "lease_name_cases", len(file.Rows))
	for _, c := range file.Rows {
		t.Run(c.System+"/"+c.Configured, func(t *testing.T) {
			want := c.Want
			if strings.TrimSpace(c.Configured) == "" {
				want = strings.Replace(want, "-pekko-sbr", "-sbr", 1) // docs/adr/0003
			}
			if got := (LeaseMajority{Lease: c.Configured}).LeaseName(c.System); got != want {
				t.Errorf("lease name got %q, want %q", got, want)
			}
		})
	}
}
