package sbr

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/cluster/member"
)

var update = flag.Bool("update", false, "write what scenarios do into their files")

// A scenario is a text file of commands, one a line, that reads as
// documentation: what happens is written below the command that made it happen,
// indented. The test plays the commands and compares; -update writes.
//
//	# text                                a remark
//	cluster a b/joining c:role1,role2     members, oldest first; addresses in the order of names
//	strategy static-quorum quorum-size=3  as Parse reads it; defaults to keep-majority
//	stable-after 5s                       and down-all-when-unstable 4s | off
//	cut a b | c d                         no links between these sides
//	cut a - b                             no link between these two; a > b cuts one way
//	heal [a - b]                          all links, or one
//	crash a                               the process is gone
//	lease a b                             only these reach the lease
//	status b leaving                      all nodes see the new status
//	wait 10s                              time passes; prints who decided what, and who is alive
//	voters a b c                          judges sides by voters instead: the cluster is on raft
//	store | no-store | lossy | no-lossy   whether there is an arbiter row; whether claims may lose
//	certify a                             a is proved dead
//	judge                                 prints what each side may do
//	cover [a]                             prints who goes for broken links; a must stay
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios found in testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playAll(t, file, string(b))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil { //nolint:gosec // a file of the repository
					t.Fatal(err)
				}
				return
			}
			if want := string(b); got != want {
				t.Errorf("%s, got:\n%s\nwant:\n%s\nrun with -update to accept", file, got, want)
			}
		})
	}
}

func playAll(t *testing.T, file, text string) string {
	t.Helper()
	var out strings.Builder
	s := &scenario{t: t}
	played := 0
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.HasPrefix(line, " ") {
			continue // what happened the last time
		}
		fmt.Fprintln(&out, line)
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		printed, err := s.command(words[0], words[1:])
		if err != nil {
			t.Fatalf("%s:%d: %s: %v", file, i+1, line, err)
		}
		for _, p := range printed {
			fmt.Fprintln(&out, "  "+p)
			played++
		}
	}
	if played == 0 {
		t.Errorf("%s decides nothing: end it with wait or judge", file)
	}
	return out.String()
}

type scenario struct {
	t        *testing.T
	settings Settings
	members  []Member
	w        *world
	side     Side
}

var errUsage = errors.New("this command is not understood: see TestScenarios for the language")

func (s *scenario) command(name string, args []string) (printed []string, err error) {
	switch name {
	case "cluster":
		return nil, s.cluster(args)
	case "strategy":
		return nil, s.strategy(args)
	case "stable-after", "down-all-when-unstable":
		return nil, s.timer(name, args)
	case "voters":
		s.side.Voters, err = s.known(args)
		return nil, err
	case "certify":
		s.side.Dead, err = s.known(args)
		return nil, err
	case "store", "no-store":
		s.side.Store = name == "store"
		return nil, nil
	case "lossy", "no-lossy":
		s.side.AllowLossy = name == "lossy"
		return nil, nil
	}
	if s.members == nil {
		return nil, errors.New("name the members with cluster first")
	}
	w := s.world()
	switch name {
	case "cut":
		return nil, s.links(args, true)
	case "heal":
		if len(args) == 0 {
			clear(w.cut)
			return nil, nil
		}
		return nil, s.links(args, false)
	case "crash":
		who, err := s.known(args)
		for _, id := range who {
			w.nodes[id].alive = false
		}
		return nil, err
	case "lease":
		w.lease.reachable, err = s.known(args)
		return nil, err
	case "status":
		return nil, s.status(args)
	case "wait":
		return s.wait(args)
	case "judge":
		return s.judge(), nil
	case "cover":
		return s.cover(args)
	}
	return nil, errUsage
}

// cluster starts a new cluster; links, time and certificates begin anew.
func (s *scenario) cluster(args []string) error {
	s.members, s.w, s.side = nil, nil, Side{Store: true}
	for i, a := range args {
		name, roles, _ := strings.Cut(a, ":")
		name, status, ok := strings.Cut(name, "/")
		m := Member{Member: member.Member{
			Node:   member.Node{ID: member.NodeID(name), Addr: name + ":25520"},
			Status: member.Up, JoinedAt: uint64(i + 1),
		}}
		if roles != "" {
			m.Roles = slices.Sorted(slices.Values(strings.Split(roles, ",")))
		}
		if ok {
			var err error
			if m.Status, m.WeaklyUp, err = scenarioStatus(status); err != nil {
				return err
			}
		}
		s.members = append(s.members, m)
	}
	return nil
}

func scenarioStatus(name string) (member.Status, bool, error) {
	if name == "weakly-up" {
		return member.Joining, true, nil
	}
	for st := member.Joining; st <= member.Removed; st++ {
		if st.String() == name {
			return st, false, nil
		}
	}
	return 0, false, fmt.Errorf("status %q is unknown", name)
}

func (s *scenario) strategy(args []string) (err error) {
	if len(args) == 0 {
		return errUsage
	}
	params := make(map[string]string)
	for _, a := range args[1:] {
		k, v, _ := strings.Cut(a, "=")
		params[k] = v
	}
	s.settings.Strategy, err = Parse(args[0], params)
	return err
}

func (s *scenario) timer(name string, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	d, err := time.ParseDuration(args[0])
	if args[0] == "off" {
		d, err = Off, nil
	}
	if name == "stable-after" {
		s.settings.StableAfter = d
	} else {
		s.settings.DownAllWhenUnstable = d
	}
	return err
}

func (s *scenario) known(names []string) ([]member.NodeID, error) {
	out := ids(names)
	for _, id := range out {
		if !slices.ContainsFunc(s.members, func(m Member) bool { return m.ID == id }) {
			return nil, fmt.Errorf("no member is named %q", id)
		}
	}
	return out, nil
}

func (s *scenario) world() *world {
	if s.w == nil {
		s.w = newWorld(s.t, s.settings, s.members)
		s.w.run(time.Second)
		s.w.start = s.w.now
	}
	return s.w
}

func (s *scenario) links(args []string, broken bool) error {
	if len(args) == 3 && (args[1] == "-" || args[1] == ">") {
		pair, err := s.known([]string{args[0], args[2]})
		if err != nil {
			return err
		}
		s.w.link(pair[0], pair[1], broken)
		if args[1] == "-" {
			s.w.link(pair[1], pair[0], broken)
		}
		return nil
	}
	if !broken || !slices.Contains(args, "|") {
		return errUsage
	}
	var groups [][]member.NodeID
	for g := range strings.SplitSeq(strings.Join(args, " "), "|") {
		group, err := s.known(strings.Fields(g))
		if err != nil {
			return err
		}
		groups = append(groups, group)
	}
	s.w.separate(groups)
	return nil
}

func (s *scenario) status(args []string) error {
	if len(args) != 2 {
		return errUsage
	}
	who, err := s.known(args[:1])
	if err != nil {
		return err
	}
	st, weakly, err := scenarioStatus(args[1])
	for _, n := range s.w.nodes {
		m := n.table[who[0]]
		m.Status, m.WeaklyUp = st, weakly
		n.table[who[0]] = m
	}
	return err
}

func (s *scenario) wait(args []string) ([]string, error) {
	if len(args) != 1 {
		return nil, errUsage
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return nil, err
	}
	s.w.story = nil
	s.w.run(d)
	s.w.say("alive: %s", listed(sorted(s.w.alive())))
	return s.w.story, nil
}

// judge asks for each side what it may do, and lets those claim that may.
func (s *scenario) judge() []string {
	var out []string
	settings := s.settings.WithDefaults()
	for _, side := range s.w.sides() {
		in := s.side
		in.Members, in.Here = s.members, side
		votes := 0
		for _, v := range in.Voters {
			if slices.Contains(side, v) {
				votes++
			}
		}
		in.Quorum = len(in.Voters) > 0 && votes > len(in.Voters)/2
		j := Judge(settings.Strategy, in)
		line := fmt.Sprintf("[%s] %s", names(side), j)
		if len(j.Down) > 0 {
			line = fmt.Sprintf("[%s] downs [%s]: %s", names(side), names(j.Down), j)
		}
		out = append(out, strings.ReplaceAll(line, ":25520", ""))
	}
	return out
}

// cover decides about links as the leader does that reaches all: those in args
// must stay.
func (s *scenario) cover(args []string) ([]string, error) {
	keep, err := s.known(args)
	if err != nil {
		return nil, err
	}
	s.w.look()
	v := View{Members: s.members}
	for _, id := range s.w.order {
		for _, subject := range s.w.nodes[id].rows[id].subjects {
			v.Observations = append(v.Observations, Observation{Observer: id, Subject: subject})
		}
	}
	d := Cover(v, keep)
	return []string{
		fmt.Sprintf("the leader downs [%s]", names(d.Down)),
		"      " + strings.ReplaceAll(d.Reason.String(), ":25520", ""),
	}, nil
}
