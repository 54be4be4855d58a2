package cluster

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-go/holdfast/cluster/member"
	"github.com/holdfast-go/holdfast/cluster/table"
)

// generationObserver knows the generation as a region does: from resets only.
type generationObserver struct {
	mu         sync.Mutex
	generation uint64
	stale      int // changes of shards that came while it did not know one
}

func (o *generationObserver) TableReset(s table.Snapshot) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.generation = s.Generation
}

func (o *generationObserver) TableChanged(d table.Delta) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.generation == 0 {
		o.stale += len(d.Shards)
	}
}

func TestObserversLearnTheGenerationBeforeAnyShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		former, joiner := r.boot(addr(1)), r.boot(addr(2))
		observers := []*generationObserver{{}, {}}
		former.Observe(observers[0])
		joiner.Observe(observers[1])
		if err := former.Form(r.within(20 * time.Second)); err != nil {
			t.Fatalf("form: %v", err)
		}
		if err := joiner.Join(r.within(20*time.Second), []string{former.self.Addr}); err != nil {
			t.Fatalf("join: %v", err)
		}
		r.settle(former, joiner)
		for i, o := range observers {
			o.mu.Lock()
			if o.generation != 1 || o.stale != 0 {
				t.Errorf("observer %d got generation %d and %d shards before it, want 1 and 0", i, o.generation, o.stale)
			}
			o.mu.Unlock()
		}
		r.stop()
	})
}

func TestAJoinerVotesSoonAfterItIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nodes := r.form(2)
		lead := leader(nodes...)
		for range 200 { // so much that a blank log is not a few entries behind
			if err := lead.raftNode().Barrier(time.Second).Error(); err != nil {
				t.Fatalf("barrier: %v", err)
			}
		}
		third := r.join(addr(3), lead)
		r.await(10*time.Second, "the joiner is up", func() bool {
			s, ok := third.Status()
			return ok && s == member.Up
		})
		took := r.await(10*time.Second, "the joiner votes", func() bool {
			for _, s := range lead.raftNode().GetConfiguration().Configuration().Servers {
				if member.NodeID(s.ID) == third.self.ID {
					return s.Suffrage == raft.Voter
				}
			}
			return false
		})
		if limit := 200 * time.Millisecond; took > limit {
			t.Errorf("got a voter after %v, want at most %v: until then the loss of one more node is the loss of the quorum", took, limit)
		}
		r.stop()
	})
}
