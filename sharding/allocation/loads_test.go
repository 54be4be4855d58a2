package allocation_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/sharding/allocation"
)

func node(id, version string, shards, total int) allocation.Node {
	return allocation.Node{ID: member.NodeID(id), Addr: id + ":25520", Version: version, Shards: shards, Total: total}
}

func TestPickTakesTheNodeWithTheFewestShards(t *testing.T) {
	tests := []struct {
		name  string
		nodes []allocation.Node
		want  member.NodeID
	}{
		{"fewest shards of the type", []allocation.Node{node("a", "", 2, 2), node("b", "", 1, 90), node("c", "", 2, 2)}, "b"},
		{"then lowest total", []allocation.Node{node("a", "", 1, 7), node("b", "", 1, 9), node("c", "", 1, 6)}, "c"},
		{"then address", []allocation.Node{node("c", "", 1, 5), node("b", "", 1, 5), node("a", "", 1, 5)}, "a"},
		{"one node", []allocation.Node{node("a", "", 40, 40)}, "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := allocation.NewLoads(100, tt.nodes).Pick()
			if !ok || got != tt.want {
				t.Errorf("Pick() got %q, %v, want %q", got, ok, tt.want)
			}
		})
	}
	if got, ok := allocation.NewLoads(100, nil).Pick(); ok {
		t.Errorf("Pick() without nodes got %q, want none", got)
	}
}

func TestPickComparesAddressesByNumber(t *testing.T) {
	a := allocation.Node{ID: "a", Addr: "10.0.0.10:1"}
	b := allocation.Node{ID: "b", Addr: "10.0.0.9:1"}
	if got, _ := allocation.NewLoads(1, []allocation.Node{a, b}).Pick(); got != "b" {
		t.Errorf("Pick() got %q, want b: 10.0.0.9 is lower than 10.0.0.10", got)
	}
}

func TestPickPrefersTheNewestVersion(t *testing.T) {
	// 30 shards on 3 nodes: a node of the newest version takes up to 20.
	l := allocation.NewLoads(30, []allocation.Node{node("a", "1.9.0", 5, 5), node("b", "1.10.0", 6, 6), node("c", "1.9.0", 5, 5)})
	if !l.Mixed() {
		t.Error("Mixed() got false, want true")
	}
	for i := range 14 {
		if got, _ := l.Pick(); got != "b" {
			t.Fatalf("pick %d got %q, want b, which runs the newest version", i, got)
		}
		l.Add("b")
	}
	if got, _ := l.Pick(); got != "a" {
		t.Errorf("Pick() got %q, want a: b holds twice the average", got)
	}
}

func TestPickPrefersTheNewestVersionEvenForOneShard(t *testing.T) {
	l := allocation.NewLoads(1, []allocation.Node{node("a", "1", 0, 0), node("b", "2", 0, 9), node("c", "1", 0, 0)})
	if got, _ := l.Pick(); got != "b" {
		t.Errorf("Pick() got %q, want b", got)
	}
}

func TestAddKnowsOnlyTheNodesOfTheBoard(t *testing.T) {
	l := allocation.NewLoads(2, []allocation.Node{node("a", "", 0, 0)})
	if !l.Add("a") || l.Add("b") {
		t.Error("Add() got a wrong answer, want true for a and false for b")
	}
	if got := l.Spread(); got != 0 {
		t.Errorf("Spread() of one node got %d, want 0", got)
	}
}

func TestEvenMovesFromTheFullestToTheEmptiest(t *testing.T) {
	l := allocation.NewLoads(10, []allocation.Node{node("a", "", 5, 5), node("b", "", 5, 5), node("c", "", 0, 0)})
	got := l.Even(100)
	want := []allocation.Move{{From: "b", To: "c"}, {From: "a", To: "c"}, {From: "b", To: "c"}}
	if !slices.Equal(got, want) {
		t.Errorf("Even() got %v, want %v", got, want)
	}
	if again := l.Even(100); len(again) != 0 {
		t.Errorf("a second Even() got %v, want nothing", again)
	}
}

func TestEvenStaysWithinItsLimit(t *testing.T) {
	for _, limit := range []int{-1, 0, 1, 7} {
		l := allocation.NewLoads(100, []allocation.Node{node("a", "", 100, 100), node("b", "", 0, 0)})
		if got := l.Even(limit); len(got) != max(limit, 0) {
			t.Errorf("Even(%d) got %d moves, want %d", limit, len(got), max(limit, 0))
		}
	}
}

func TestEvenEndsWithADifferenceOfAtMostOne(t *testing.T) {
	const seed = 20
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		nodes := make([]allocation.Node, 1+rng.IntN(12))
		sum := 0
		for i := range nodes {
			nodes[i] = node(fmt.Sprintf("n%d", i), "", rng.IntN(80), rng.IntN(200))
			sum += nodes[i].Shards
		}
		l := allocation.NewLoads(sum, nodes)
		gave, got := map[member.NodeID]bool{}, map[member.NodeID]bool{}
		for rounds := 0; ; rounds++ {
			moves := l.Even(1 + rng.IntN(9))
			if len(moves) == 0 {
				break
			}
			if rounds > sum {
				t.Fatalf("seed %d: no end after %d rounds: %v", seed, rounds, nodes)
			}
			for _, m := range moves {
				gave[m.From], got[m.To] = true, true
			}
		}
		if l.Spread() > 1 {
			t.Fatalf("seed %d: spread got %d, want at most 1: %v", seed, l.Spread(), nodes)
		}
		for id := range gave {
			if got[id] {
				t.Fatalf("seed %d: %s gave and received: %v", seed, id, nodes)
			}
		}
	}
}

func TestAnswersDoNotDependOnTheOrderOfNodes(t *testing.T) {
	const seed = 21
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		nodes := make([]allocation.Node, 1+rng.IntN(8))
		for i := range nodes {
			nodes[i] = node(fmt.Sprintf("n%d", i), fmt.Sprint(rng.IntN(2)), rng.IntN(4), rng.IntN(5))
		}
		want := picks(allocation.NewLoads(30, nodes))
		rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		if got := picks(allocation.NewLoads(30, nodes)); got != want {
			t.Fatalf("seed %d: got %s, want %s", seed, got, want)
		}
	}
}

func picks(l *allocation.Loads) string {
	var out []member.NodeID
	for range 30 {
		id, _ := l.Pick()
		l.Add(id)
		out = append(out, id)
	}
	return fmt.Sprint(out, l.Even(20))
}
