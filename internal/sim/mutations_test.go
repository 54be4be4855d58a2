package sim_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/internal/sim"
)

var (
	mutate = flag.String("mutations", cmp.Or(os.Getenv("HOLDFAST_SIM_MUTATIONS"), quickMutation),
		"plant the bugs whose names match this pattern, one by one, and see them caught; '.' takes many minutes")
	hunt  = flag.Int("hunt", 0, "run histories until one finds something, at most this many; used by -mutations")
	seeds = flag.Int("mutation-seeds", 500, "histories within which a planted bug must be caught")
)

// quickMutation is planted when nothing else is asked for: it is caught by one
// of the first histories.
const quickMutation = "command ids are forgotten"

// patch replaces a piece of a source file, which must be there exactly once.
type patch struct{ file, old, new string }

// mutation is a bug to plant. The program itself knows nothing of it: the
// compiler is given another text of the file.
type mutation struct {
	name    string
	patches []patch
	// unseen says why histories hardly show it, and what else does.
	unseen string
}

var mutations = []mutation{
	{name: "no session check", patches: []patch{
		{"sharding/host.go", "return h.valid.Load() && h.slot.region.set.cfg.Cluster.SessionValid()", "return h.valid.Load()"},
		{"sharding/entity.go", "if !set.cfg.Cluster.SessionValid() {", "if false && !set.cfg.Cluster.SessionValid() {"},
	}},
	{name: "renewals confirmed without a quorum", patches: []patch{
		{"cluster/renewals.go", "if err := l.r.Barrier(raftTimeout).Error(); err != nil {", "if err := ctx.Err(); err != nil {"},
	}},
	{name: "a new leader does not wait for old sessions", patches: []patch{
		{"cluster/floor.go", "l.floor, l.floorSet = at, true", "l.floor, l.floorSet = time.Time{}, true"},
	}},
	{name: "sessions expire at half their time", patches: []patch{
		{"cluster/config.go", "return t.SessionTTL * 104 / 100", "return t.SessionTTL / 2"},
	}},
	{name: "session counted from the answer", patches: []patch{
		{"cluster/session.go", "c.session.extend(sent)", "_ = sent\n\tc.session.extend(time.Now())"},
	}},
	{name: "expiry not awaited by the expired", patches: []patch{
		{"cluster/session.go", "if c.replica.index() < reply.ExpireIndex {", "if false {"},
	}, unseen: "the table is milliseconds behind the renewal: TestAnExpiredMemberHasNoSessionBeforeItHasSeenItsShardsGo holds it back"},
	{name: "confirmed while an expiry is in doubt", patches: []patch{
		{"cluster/leader.go", "if l.lost(err) {\n\t\t\treturn", "if false {\n\t\t\treturn"},
	}, unseen: "the leader whose commit is in doubt is deposed and confirms nothing anyway"},
	{name: "a push with a gap is applied", patches: []patch{
		{"cluster/replica.go", "if len(p.Entries) > 0 && p.Prev > r.table.Index {", "if false {"},
	}},
	{name: "journal without a fence", patches: []patch{
		{"persistence/journal/memory/memory.go", "f.token != a.Token {", "f.token != a.Token && false {"},
	}},
	{name: "fence without the activation count", patches: []patch{
		{"persistence/journal/memory/memory.go", "f.token != a.Token {", "f.token.Generation != a.Token.Generation || f.token.Epoch != a.Token.Epoch {"},
	}},
	{name: "no new claim after a write in doubt", patches: []patch{
		{"persistence/claims.go", "defer c.mu.Unlock()\n\tc.held = false", "defer c.mu.Unlock()"},
	}},
	{name: "a write in doubt is said not to have run", patches: []patch{
		{"persistence/entity.go", `sharding.Errorf(sharding.Lost, "whether it was written`, `sharding.Errorf(sharding.Unavailable, "whether it was written`},
	}},
	{name: "command ids are forgotten", patches: []patch{
		{"persistence/journal/memory/memory.go", "if c, ok := st.commands[a.Command.ID]; ok {", "if c, ok := st.commands[a.Command.ID]; ok && false {"},
	}},
	{name: "generation formed without proof", patches: []patch{
		{"cluster/generation.go", "if err := c.provedOver(ctx, row); err != nil {", "if err := c.provedOver(ctx, Claim{}); err != nil {"},
	}},
	{name: "a new generation does not wait for old sessions", patches: []patch{
		{"cluster/generation.go", "if hold {", "if false {"},
	}},
	{name: "generation claimed without compare-and-set", patches: []patch{
		{"persistence/journal/memory/memory.go", "if row.Version != old {", "if row.Version != old && false {"},
		{"cluster/generation.go", "if err := c.provedOver(ctx, row); err != nil {", "if err := c.provedOver(ctx, Claim{}); err != nil {"},
	}},
	{name: "voter changes are not registered", patches: []patch{
		{"cluster/voters.go", "if err := l.register(ctx, servers, step); err != nil {", "if err := ctx.Err(); err != nil {"},
	}},
	{name: "no target incarnation on the wire", patches: []patch{
		{"remote/remotetest/node.go", "case h.to != n.self.ID:", "case false:"},
	}, unseen: "a voter must come back blank, vote and not be removed before the leader dies: remote's and remotetest's conformance tests"},
	{name: "calls of any epoch are taken", patches: []patch{
		{"sharding/inbound.go", "h.epoch == q.Epoch && h.generation == q.Generation && !h.cut.Load()", "!h.cut.Load()"},
	}, unseen: "senders keep the order by themselves in most cases: TestAStaleSenderIsRefusedAndSendsAgainInOrder"},
	{name: "refused calls may be overtaken", patches: []patch{
		{"sharding/host.go", "round := h.round.Load()\n\treturn round != 0 && h.passed[id] != round", "return false"},
		{"sharding/host.go", "if _, ok := h.slot.suspects[id]; ok {", "if _, ok := h.slot.suspects[id]; ok && false {"},
	}, unseen: "needs a refusal between two posts of one burst: TestACallThatWasRefusedIsNotOvertakenByOneSentBehindIt"},
	{name: "a call runs although its entity started too late", patches: []patch{
		{"sharding/entity.go", "if !e.host.Valid() {", "if false {"},
	}},
	{name: "a row of two voters ends with one", patches: []patch{
		{"cluster/generation.go", "max(registered-1, 1)/2+1", "registered/2+1"},
	}},
	{name: "deaths are believed without proof", patches: []patch{
		{"cluster/death.go", "if proof := c.probe(ctx, n); proof.Dead() {", "if proof := c.probe(ctx, n); proof.Dead() || proof == remote.Unknown {"},
	}},
}

// TestPlantedBugsAreCaught plants each bug and runs histories until one of
// them finds it.
func TestPlantedBugsAreCaught(t *testing.T) {
	wanted, err := regexp.Compile(*mutate)
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	planted := 0
	for _, m := range mutations {
		if !wanted.MatchString(m.name) {
			continue
		}
		planted++
		t.Run(m.name, func(t *testing.T) {
			out := runMutant(t, root, m)
			caught := regexp.MustCompile(`(?m)^caught .*$|^panic: .*$`).FindString(out)
			if caught == "" && m.unseen != "" {
				t.Logf("not caught in %d histories: %s", *seeds, m.unseen)
				return
			}
			if caught == "" {
				t.Errorf("not caught in %d histories: %s", *seeds, lastLine(out))
				return
			}
			t.Log(caught)
		})
	}
	if planted == 0 {
		t.Errorf("no planted bug has a name like %q", *mutate)
	}
}

// TestThePlantedBugsFitTheSources fails when a bug cannot be planted any more.
func TestThePlantedBugsFitTheSources(t *testing.T) {
	for _, m := range mutations {
		for _, p := range m.patches {
			if _, err := p.apply("../.."); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
	}
}

func (p patch) apply(root string) (string, error) {
	src, err := os.ReadFile(filepath.Join(root, p.file))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(src), p.old); n != 1 {
		return "", fmt.Errorf("%s has %q %d times, want once", p.file, p.old, n)
	}
	return strings.Replace(string(src), p.old, p.new, 1), nil
}

// runMutant builds this test with the bug and has it hunt.
func runMutant(t *testing.T, root string, m mutation) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for _, p := range m.patches {
		// Patches of one file build on each other.
		at := filepath.Join(root, p.file)
		text, err := os.ReadFile(at)
		if have, ok := replace[at]; ok {
			text, err = os.ReadFile(have)
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(string(text), p.old) != 1 {
			t.Fatalf("%s does not have %q once", p.file, p.old)
		}
		to := filepath.Join(dir, strings.ReplaceAll(p.file, "/", "_"))
		if err := os.WriteFile(to, []byte(strings.Replace(string(text), p.old, p.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[at] = to
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file, mutant := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutant.test")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-overlay", file, "-o", mutant, "./internal/sim")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), mutant, "-test.run", "^TestHunt$", "-hunt", fmt.Sprint(*seeds), "-test.timeout", "20m")
	run.Dir = dir
	out, _ := run.CombinedOutput() // a mutant may end in any way
	return string(out)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// TestHunt is what a mutant runs.
func TestHunt(t *testing.T) {
	for s := range uint64(*hunt) {
		r := sim.Run(t, sim.Options{Seed: s + 1})
		if len(r.Violations) > 0 {
			fmt.Printf("caught by seed %d: %s\n", s+1, strings.TrimSpace(r.Violations[0].String()))
			return
		}
	}
}
