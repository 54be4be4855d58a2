package cluster

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
)

// While raft hands the leadership over it commits nothing and says so at once:
// whoever tries again without a pause stops everything else.
func TestADeathProvedDuringAHandoverWaitsForItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(5)
		l := leader(nodes...)
		others := without(nodes, l)
		// The successor hears of its luck too late to take it.
		next, victim := others[0], others[1]
		r.net.Cut(l.self, next.self)
		handover := l.raftNode().LeadershipTransferToServer(raft.ServerID(next.self.ID), serverAddress(next.self))
		<-time.After(10 * time.Millisecond)
		victim.kill()
		rest := without(nodes, victim, next)
		r.await(5*time.Second, "the table shows the death", func() bool {
			r.owners.check(rest...)
			m, ok := rest[0].View().Find(victim.self.ID)
			return !ok || m.Status == member.Down
		})
		if handover.Error() == nil {
			t.Error("the handover succeeded, the test has no point")
		}
		r.stop()
	})
}

func TestRaftDoesNotPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		l := r.form(2)[0]
		_, err := l.trans.AppendEntriesPipeline("x", "x@10.0.0.9:25520")
		if !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
			t.Errorf("got %v, want %v: a pipeline whose follower refuses may never end", err, raft.ErrPipelineReplicationNotSupported)
		}
		r.stop()
	})
}
