package bootstrap_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/bootstrap"
	"github.com/holdfast-go/holdfast/cluster/member"
)

// point is the contact point of node n; nodes are numbered by their address.
func point(n int) bootstrap.ContactPoint {
	return bootstrap.ContactPoint{Host: fmt.Sprintf("10.0.0.%d", n), Port: 9002}
}

func self(n int) bootstrap.Self {
	return bootstrap.Self{Node: member.Node{ID: id(n), Addr: addr(n)}, Cluster: "bank", Host: fmt.Sprintf("10.0.0.%d", n), Port: 9002}
}

func id(n int) member.NodeID { return member.NodeID(fmt.Sprintf("node-%d", n)) }

func addr(n int) string { return fmt.Sprintf("10.0.0.%d:25520", n) }

// answer is what node n answers while it is in no cluster.
func answer(n int, at time.Time) bootstrap.Answer {
	return bootstrap.Answer{Point: point(n), At: at, Node: id(n), Management: point(n).Addr(), Cluster: "bank"}
}

// named is what node n answers as a member: these seeds at a generation.
func named(n int, at time.Time, generation uint64, seeds ...int) bootstrap.Answer {
	a := answer(n, at)
	a.Generation = generation
	for _, s := range seeds {
		a.Seeds = append(a.Seeds, bootstrap.Seed{ID: id(s), Addr: addr(s), Status: "up"})
	}
	return a
}

func TestDecide(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	long := now.Add(-time.Minute)
	pts := func(ns ...int) (out []bootstrap.ContactPoint) {
		for _, n := range ns {
			out = append(out, point(n))
		}
		return out
	}
	ans := func(ns ...int) (out []bootstrap.Answer) {
		for _, n := range ns {
			out = append(out, answer(n, now))
		}
		return out
	}
	other := func(a bootstrap.Answer, cluster string) bootstrap.Answer { a.Cluster = cluster; return a }
	at := func(a bootstrap.Answer, p bootstrap.ContactPoint) bootstrap.Answer { a.Point = p; return a }
	byName := bootstrap.ContactPoint{Host: "one.local", Port: 9002}
	earlier := named(2, now, 4, 1)
	earlier.Seeds[0].ID = "an-earlier-process"
	leaving := named(4, now, 1, 5)
	leaving.Seeds[0].Status = "leaving"

	tests := []struct {
		name     string
		settings bootstrap.Settings
		o        bootstrap.Observations
		action   bootstrap.Action
		cause    bootstrap.Cause
		addrs    []string
		says     string
	}{
		{
			name: "the lowest of all forms", action: bootstrap.Form, cause: bootstrap.Lowest,
			o: bootstrap.Observations{Points: pts(1, 2, 3), ChangedAt: long, Answers: ans(1, 2, 3)},
		},
		{
			name: "a higher one waits and says for whom", action: bootstrap.KeepProbing, cause: bootstrap.NotLowest, says: "10.0.0.0:9002",
			o: bootstrap.Observations{Points: pts(0, 1), ChangedAt: long, Answers: ans(0, 1)},
		},
		{
			name: "addresses compare as numbers", action: bootstrap.Form, cause: bootstrap.Lowest,
			o: bootstrap.Observations{Points: pts(1, 10, 200), ChangedAt: long, Answers: ans(200, 10, 1)},
		},
		{
			name: "two nodes are required by default", action: bootstrap.KeepProbing, cause: bootstrap.TooFewContactPoints, says: "1 of at least 2",
			o: bootstrap.Observations{Points: pts(1), ChangedAt: long, Answers: ans(1)},
		},
		{
			name: "one is enough when the settings say so", action: bootstrap.Form, cause: bootstrap.Lowest,
			settings: bootstrap.Settings{RequiredContactPoints: 1},
			o:        bootstrap.Observations{Points: pts(1), ChangedAt: long, Answers: ans(1)},
		},
		{
			name: "a node found under two names counts once", action: bootstrap.KeepProbing, cause: bootstrap.TooFewContactPoints,
			o: bootstrap.Observations{Points: append(pts(1), byName), ChangedAt: long, Answers: []bootstrap.Answer{answer(1, now), at(answer(1, now), byName)}},
		},
		{
			name: "a node is known by its id under any name", action: bootstrap.Form, cause: bootstrap.Lowest,
			o: bootstrap.Observations{Points: append(pts(2), byName), ChangedAt: long, Answers: []bootstrap.Answer{answer(2, now), at(answer(1, now), byName)}},
		},
		{
			name: "another process at the own address is not this node", action: bootstrap.KeepProbing, cause: bootstrap.SelfNotDiscovered,
			o: bootstrap.Observations{Points: pts(1, 2), ChangedAt: long, Answers: []bootstrap.Answer{at(answer(3, now), point(1)), answer(2, now)}},
		},
		{
			name: "within the margin it waits", action: bootstrap.KeepProbing, cause: bootstrap.NotStable, says: "4s ago",
			o: bootstrap.Observations{Points: pts(1, 2), ChangedAt: now.Add(-4 * time.Second), Answers: ans(1, 2)},
		},
		{
			name: "at the margin it forms", action: bootstrap.Form, cause: bootstrap.Lowest,
			o: bootstrap.Observations{Points: pts(1, 2), ChangedAt: now.Add(-5 * time.Second), Answers: ans(1, 2)},
		},
		{
			name: "the margin can be set", action: bootstrap.Form, cause: bootstrap.Lowest, settings: bootstrap.Settings{StableMargin: 300 * time.Millisecond},
			o: bootstrap.Observations{Points: pts(1, 2), ChangedAt: now.Add(-300 * time.Millisecond), Answers: ans(1, 2)},
		},
		{
			name: "a silent contact point blocks", action: bootstrap.KeepProbing, cause: bootstrap.SilentContactPoints, says: "10.0.0.3:9002",
			o: bootstrap.Observations{Points: pts(1, 2, 3), ChangedAt: long, Answers: ans(1, 2)},
		},
		{
			name: "an old answer is silence", action: bootstrap.KeepProbing, cause: bootstrap.SilentContactPoints, says: "10.0.0.3:9002",
			o: bootstrap.Observations{Points: pts(1, 2, 3), ChangedAt: long, Answers: append(ans(1, 2), answer(3, now.Add(-3001*time.Millisecond)))},
		},
		{
			name: "many silent contact points are named in short", action: bootstrap.KeepProbing, cause: bootstrap.SilentContactPoints, says: "10.0.0.7:9002, and 2 more",
			o: bootstrap.Observations{Points: pts(1, 2, 3, 4, 5, 6, 7, 8, 9), ChangedAt: long, Answers: ans(1, 2)},
		},
		{
			name: "nothing discovered", action: bootstrap.KeepProbing, cause: bootstrap.NoDiscovery, says: "nothing has been discovered yet",
		},
		{
			name: "a failed discovery blocks forming", action: bootstrap.KeepProbing, cause: bootstrap.NoDiscovery, says: "access denied",
			o: bootstrap.Observations{Points: pts(1, 2), ChangedAt: long, DiscoveryErr: "access denied", Answers: ans(1, 2)},
		},
		{
			name: "a failed discovery does not block joining", action: bootstrap.Join, cause: bootstrap.FoundCluster, addrs: []string{addr(2)},
			o: bootstrap.Observations{Points: pts(2), ChangedAt: long, DiscoveryErr: "access denied", Answers: []bootstrap.Answer{named(2, now, 1, 2)}},
		},
		{
			name: "this node must be among those that answered", action: bootstrap.KeepProbing, cause: bootstrap.SelfNotDiscovered, says: "10.0.0.1:9002",
			o: bootstrap.Observations{Points: pts(2, 3), ChangedAt: long, Answers: ans(2, 3)},
		},
		{
			name: "join only waits and says so", action: bootstrap.KeepProbing, cause: bootstrap.NewClusterDisabled, says: "forming a new one is disabled", settings: bootstrap.Settings{JoinOnly: true},
			o: bootstrap.Observations{Points: pts(1, 2), ChangedAt: long, Answers: ans(1, 2)},
		},
		{
			name: "join only joins", action: bootstrap.Join, cause: bootstrap.FoundCluster, addrs: []string{addr(2)}, settings: bootstrap.Settings{JoinOnly: true},
			o: bootstrap.Observations{Points: pts(1, 2), ChangedAt: long, Answers: []bootstrap.Answer{answer(1, now), named(2, now, 1, 2)}},
		},
		{
			name: "a cluster is joined at once, without margin or count", action: bootstrap.Join, cause: bootstrap.FoundCluster, addrs: []string{addr(3), addr(20)},
			o: bootstrap.Observations{Points: pts(1, 3, 9), ChangedAt: now, Answers: []bootstrap.Answer{named(3, now, 1, 20, 3)}},
		},
		{
			name: "only the newest generation is joined", action: bootstrap.Join, cause: bootstrap.FoundCluster, addrs: []string{addr(8)}, says: "generation 7",
			o: bootstrap.Observations{Points: pts(1, 2, 3), ChangedAt: long, Answers: []bootstrap.Answer{named(2, now, 6, 2), named(3, now, 7, 8)}},
		},
		{
			name: "members that leave are asked last", action: bootstrap.Join, cause: bootstrap.FoundCluster, addrs: []string{addr(9), addr(5)},
			o: bootstrap.Observations{Points: pts(4, 3), ChangedAt: long, Answers: []bootstrap.Answer{leaving, named(3, now, 1, 9)}},
		},
		{
			name: "seeds are joined once each", action: bootstrap.Join, cause: bootstrap.FoundCluster, addrs: []string{addr(2), addr(3)},
			o: bootstrap.Observations{Points: pts(2, 3), ChangedAt: long, Answers: []bootstrap.Answer{named(2, now, 1, 2, 3), named(3, now, 1, 3, 2)}},
		},
		{
			name: "the list of seeds is bounded", action: bootstrap.Join, cause: bootstrap.FoundCluster,
			addrs: []string{addr(2), addr(3), addr(4), addr(5), addr(6), addr(7), addr(8), addr(9), addr(10), addr(11)},
			o:     bootstrap.Observations{Points: pts(2), ChangedAt: long, Answers: []bootstrap.Answer{named(2, now, 1, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2)}},
		},
		{
			name: "an earlier process at the own address is no one to join, and no reason to form", action: bootstrap.KeepProbing, cause: bootstrap.OnlyOwnAddress, says: addr(1),
			o: bootstrap.Observations{Points: pts(1, 2), ChangedAt: long, Answers: []bootstrap.Answer{answer(1, now), earlier}},
		},
		{
			name: "an old answer names nobody", action: bootstrap.KeepProbing, cause: bootstrap.TooFewContactPoints,
			o: bootstrap.Observations{Points: pts(1, 2), ChangedAt: long, Answers: []bootstrap.Answer{answer(1, now), named(2, now.Add(-4*time.Second), 1, 2)}},
		},
		{
			name: "members of another cluster are ignored and named", action: bootstrap.KeepProbing, cause: bootstrap.TooFewContactPoints, says: "ignored 1 contact points of other clusters: 10.0.0.2:9002",
			o: bootstrap.Observations{Points: pts(1, 2), ChangedAt: long, Answers: []bootstrap.Answer{answer(1, now), other(named(2, now, 9, 2), "shop")}},
		},
		{
			name: "a node of another cluster does not block forming", action: bootstrap.Form, cause: bootstrap.Lowest, says: "ignored 1",
			o: bootstrap.Observations{Points: pts(0, 1, 2), ChangedAt: long, Answers: []bootstrap.Answer{other(answer(0, now), "shop"), answer(1, now), answer(2, now)}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := bootstrap.Decide(now, self(1), tt.settings, tt.o)
			if got.Action != tt.action || got.Cause != tt.cause || !slices.Equal(got.Addrs, tt.addrs) {
				t.Errorf("got %s by %s %v (%s), want %s by %s %v", got.Action, got.Cause, got.Addrs, got.Reason, tt.action, tt.cause, tt.addrs)
			}
			if !strings.Contains(got.Reason, tt.says) {
				t.Errorf("reason got %q, want it to say %q", got.Reason, tt.says)
			}
		})
	}
}

// Nodes that see the same answers agree on exactly one that forms, whatever
// names they found each other under and in whatever order.
func TestExactlyOneOfThemForms(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 4))
		n := 2 + rng.IntN(5)
		var o bootstrap.Observations
		o.ChangedAt = now.Add(-time.Hour)
		nodes := rng.Perm(255)[:n]
		var forms []int
		for _, me := range nodes {
			o.Points, o.Answers = nil, nil
			for _, k := range rng.Perm(n) {
				a := answer(nodes[k], now)
				if rng.IntN(2) == 0 {
					a.Point = bootstrap.ContactPoint{Host: fmt.Sprintf("name-%d", rng.IntN(1000)), Port: 9002}
				}
				o.Points, o.Answers = append(o.Points, a.Point), append(o.Answers, a)
			}
			if bootstrap.Decide(now, self(me), bootstrap.Settings{}, o).Action == bootstrap.Form {
				forms = append(forms, me)
			}
		}
		if want := []int{slices.Min(nodes)}; !slices.Equal(forms, want) {
			t.Fatalf("seed %d: nodes %v form, want %v of %v", seed, forms, want, nodes)
		}
	}
}

func TestSeedsAreThoseThatStayLongest(t *testing.T) {
	m := func(n int, s member.Status, age uint64) member.Member {
		return member.Member{Node: member.Node{ID: id(n), Addr: addr(n)}, Status: s, JoinedAt: age}
	}
	v := member.View{Members: []member.Member{
		m(1, member.Down, 1), m(2, member.Leaving, 2), m(3, member.Up, 9), m(4, member.Up, 3), m(5, member.Joining, 10),
		m(6, member.Exiting, 4), m(7, member.Removed, 5), m(8, member.Leaving, 1), m(9, member.Up, 7),
	}}
	var got []string
	for _, s := range bootstrap.SeedsOf(v) {
		got = append(got, string(s.ID)+" "+s.Status)
	}
	want := []string{"node-4 up", "node-9 up", "node-3 up", "node-5 joining", "node-8 leaving"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if seeds := bootstrap.SeedsOf(member.View{}); seeds == nil || len(seeds) != 0 {
		t.Errorf("seeds of an empty view got %v, want an empty list", seeds)
	}
}
