package member

import (
	"slices"
	"testing"
)

func TestAddressesAreOrderedByNumberThenNameThenPort(t *testing.T) {
	want := []string{
		"9.255.0.1:1", "10.0.0.2:1", "10.0.0.2:9", "10.0.0.2:10", "10.0.0.10:1", "200.0.0.1:1",
		"[::1]:1", "[2001:db8::1]:80", "alpha:1", "beta:1", "no-port",
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareAddr)
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for _, a := range want {
		if CompareAddr(a, a) != 0 {
			t.Errorf("%s is not equal to itself", a)
		}
	}
}

func TestNobodyComesBackFromRemoved(t *testing.T) {
	all := []Status{Joining, Up, Leaving, Exiting, Down, Removed}
	for _, to := range all {
		if Removed.CanBecome(to) {
			t.Errorf("removed can become %s", to)
		}
	}
	for _, from := range all[:5] {
		if !from.CanBecome(Removed) {
			t.Errorf("%s cannot be removed", from)
		}
		if from != Down && !from.CanBecome(Down) {
			t.Errorf("%s cannot go down", from)
		}
	}
	if Down.CanBecome(Up) || Leaving.CanBecome(Up) || Exiting.CanBecome(Leaving) {
		t.Error("a member went backwards")
	}
}

func TestTheOldestMemberIsTheOneAcceptedFirst(t *testing.T) {
	a := Member{Node: Node{ID: "a", Addr: "1.1.1.2:1"}, JoinedAt: 5}
	b := Member{Node: Node{ID: "b", Addr: "1.1.1.1:1"}, JoinedAt: 4}
	c := Member{Node: Node{ID: "c", Addr: "1.1.1.1:1"}, JoinedAt: 5}
	if CompareAge(b, a) >= 0 || CompareAge(c, a) >= 0 || CompareAge(a, a) != 0 {
		t.Error("members are not ordered by acceptance, then address")
	}
}

func TestVersionsThatCannotBeReadComeFirst(t *testing.T) {
	want := []string{"1..2", "1.2x", "HEAD", "0", "1.2.0-rc1", "1.2.0", "1.10.0"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, CompareVersions)
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
