package cluster

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
	"github.com/holdfast-go/holdfast/internal/wire"
)

func TestANewLeaderWaitsForTheSessionsThatTheOldOneGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		old := leader(nodes...)
		victim := without(nodes, old)[0]
		rest := without(nodes, victim)
		for _, n := range rest {
			r.net.Cut(victim.self, n.self)
		}
		next := without(rest, old)[0].self
		if err := old.raftNode().LeadershipTransferToServer(raft.ServerID(next.ID), serverAddress(next)).Error(); err != nil {
			t.Fatalf("transfer: %v", err)
		}
		r.await(10*time.Second, "the new leader has moved the shards", func() bool { r.owners.check(nodes...); return served(rest...) })
		r.stop()
	})
}

func TestAnExpiredMemberHasNoSessionBeforeItHasSeenItsShardsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(4)
		var victim *node // the one that does not vote: only pushes tell it
		for _, n := range nodes {
			if n.raftNode().LastIndex() == 0 {
				victim = n
			}
		}
		rest := without(nodes, victim)
		for _, n := range rest {
			r.net.Cut(victim.self, n.self)
		}
		r.await(6*time.Second, "the others have its shards", func() bool { return served(rest...) })
		victim.deaf.Store(true)
		r.net.Heal()
		for start := time.Now(); time.Since(start) < 4*time.Second; {
			r.owners.check(nodes...)
			if victim.SessionValid() {
				t.Fatal("got a session with a table that is older than its expiry")
			}
			<-time.After(5 * time.Millisecond)
		}
		victim.deaf.Store(false)
		r.await(5*time.Second, "the session is back", func() bool { r.owners.check(nodes...); return victim.SessionValid() })
		r.stop()
	})
}

func TestAnAddressIsNotTakenFromALivingMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(3)
		l := leader(nodes...)
		living := without(nodes, l)[0]
		req := wire.JoinRequest{
			Member:  member.Member{Node: member.Node{ID: "impostor", Addr: living.self.Addr}, Status: member.Joining},
			Cluster: "test", Settings: l.settings(),
		}
		got := l.leading.Load().join(r.within(5*time.Second), req)
		if got.OK || !got.Final || !strings.Contains(got.Refusal, "alive") {
			t.Errorf("got %+v, want a final refusal: the member is alive", got)
		}
		if _, ok := l.View().Find(living.self.ID); !ok {
			t.Error("the living member was removed")
		}
		r.stop()
	})
}

func TestAPushWithAGapIsNotApplied(t *testing.T) {
	entry := func(index uint64, c table.Command) wire.Entry {
		raw, err := wire.EncodeCommand(c)
		if err != nil {
			t.Fatal(err)
		}
		return wire.Entry{Index: index, Command: raw}
	}
	a := member.Member{Node: member.Node{ID: "a", Addr: "a:1"}, Status: member.Joining}
	form := entry(3, table.Form{Generation: 1, Types: map[string]int{"x": 1}, Member: a})
	expire := entry(9, table.Expire{ID: "a"})
	r := newReplica()
	if at, err := r.push(wire.Push{Prev: 3, Entries: []wire.Entry{expire}}); err != nil || at != 0 {
		t.Errorf("a gap: got applied %d, %v, want 0", at, err)
	}
	if at, err := r.push(wire.Push{Prev: 0, Entries: []wire.Entry{form}}); err != nil || at != 3 {
		t.Errorf("the beginning: got applied %d, %v, want 3", at, err)
	}
	if at, err := r.push(wire.Push{Prev: 3, Entries: []wire.Entry{expire}}); err != nil || at != 9 {
		t.Errorf("the rest: got applied %d, %v, want 9", at, err)
	}
	if at, err := r.push(wire.Push{Prev: 0, Entries: []wire.Entry{form, expire}}); err != nil || at != 9 {
		t.Errorf("again: got applied %d, %v, want 9", at, err)
	}
	prev, entries, snap := r.since(3, 10)
	if prev != 3 || len(entries) != 1 || snap != nil {
		t.Errorf("since 3: got prev %d, %d entries, snapshot %v, want 3, 1, nil", prev, len(entries), snap)
	}
	if _, _, snap := newerReplica(t, r).since(1, 10); snap == nil || snap.Index != 9 {
		t.Errorf("since an index that is forgotten: got %v, want the table at 9", snap)
	}
}

// newerReplica is a replica that was restored from r and so has no tail.
func newerReplica(t *testing.T, r *replica) *replica {
	t.Helper()
	var s table.Snapshot
	r.read(func(tb *table.Table) { s = tb.Snapshot() })
	out := newReplica()
	if err := out.restore(s); err != nil {
		t.Fatal(err)
	}
	return out
}
