package cluster

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
)

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
